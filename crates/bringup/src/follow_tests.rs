//! The objects of a cluster on an API that keeps them.

use std::sync::Mutex;

use fakes::cluster::Cluster;

use super::*;

fn moved() -> Vec<Moved> {
    vec![Moved { was: "10.0.0.1".parse().unwrap(), is: "10.0.0.77".parse().unwrap() }]
}

const MAP: &str = "/api/v1/namespaces/kube-system/configmaps/kube-proxy";
const PROXY: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";
const FLANNEL: &str = "/apis/apps/v1/namespaces/kube-flannel/daemonsets/kube-flannel-ds";
const APISERVER: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-apiserver";

fn metadata(path: &str) -> Value {
    let words: Vec<&str> = path.split('/').collect();
    let (namespace, name) = (words[words.len() - 3], words[words.len() - 1]);
    json!({"name": name, "namespace": namespace})
}

/// As rendered for an address, and as it is in a cluster.
fn proxy_config(address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(MAP),
        "data": {"kubeconfig.conf": format!("server: https://{address}:6443")}})
}

fn proxy() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata(PROXY), "spec": {"template": {"spec": {
        "containers": [{"name": "kube-proxy"}], "volumes": [{"name": "c", "configMap": {"name": "kube-proxy"}}]}}}})
}

fn flannel(address: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata(FLANNEL), "spec": {"template": {"spec": {
        "containers": [{"name": "f", "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": address}]}]}}}})
}

fn rendered() -> Vec<Value> {
    vec![proxy_config("10.0.0.77"), proxy(), flannel("10.0.0.77")]
}

fn cluster() -> Cluster {
    let cluster = Cluster::default();
    cluster.put(MAP, proxy_config("10.0.0.1"));
    cluster.put(PROXY, proxy());
    cluster.put(FLANNEL, flannel("10.0.0.1"));
    cluster.put(
        APISERVER,
        json!({"kind": "DaemonSet", "metadata": metadata(APISERVER), "spec": {"template": {}}}),
    );
    cluster
}

async fn run(cluster: &Cluster) -> Result<Vec<String>, StartError> {
    let options = Options { timeout: Duration::from_secs(5), ..Options::new("none".into(), "n".into()) };
    let rendered = rendered();
    let rendered: Vec<&Value> = rendered.iter().collect();
    follow_in(&options, &Patient::new(cluster.client()), &rendered, &moved(), &|_: &str| {}).await
}

fn address(cluster: &Cluster, path: &str) -> Value {
    cluster.object(path).unwrap()["spec"]["template"]["metadata"]["annotations"][names::annotation::ADDRESS]
        .clone()
}

#[tokio::test(start_paused = true)]
async fn what_holds_the_address_gets_the_new_one_and_who_has_read_it_starts_anew() {
    let cluster = cluster();
    let changed = run(&cluster).await.unwrap();
    assert_eq!(
        changed,
        [
            "ConfigMap kube-system/kube-proxy",
            "DaemonSet kube-flannel/kube-flannel-ds",
            "DaemonSet kube-system/kube-proxy"
        ]
    );
    let map = cluster.object(MAP).unwrap();
    assert_eq!(map["data"]["kubeconfig.conf"], "server: https://10.0.0.77:6443");
    assert_eq!(address(&cluster, PROXY), "10.0.0.77");
    assert_eq!(address(&cluster, APISERVER), Value::Null, "it began after the address had changed");
    let env =
        &cluster.object(FLANNEL).unwrap()["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
    assert_eq!(env, "10.0.0.77");
    assert_eq!(run(&cluster).await.unwrap(), [] as [&str; 0], "a second run finds nothing to do");
}

/// Whoever was killed between a file and those who have read it goes on there.
#[tokio::test(start_paused = true)]
async fn who_was_not_started_anew_is_so_by_the_next_run() {
    let cluster = cluster();
    run(&cluster).await.unwrap();
    cluster.change(PROXY, |set| set["spec"]["template"]["metadata"] = json!({}));
    assert_eq!(run(&cluster).await.unwrap(), ["DaemonSet kube-system/kube-proxy"]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_changed_or_taken_away_is_meant() {
    let cluster = cluster();
    cluster.change(MAP, |map| map["data"]["kubeconfig.conf"] = json!("server: https://10.9.9.9:443"));
    cluster.remove(FLANNEL);
    assert_eq!(run(&cluster).await.unwrap(), [] as [&str; 0]);
    assert!(cluster.object(FLANNEL).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_tells_the_old_address_for_good_is_rolled_out() {
    let cluster = cluster();
    let slice = |ip: &str| json!({"endpoints": [{"addresses": [ip]}]}).to_string();
    cluster.say(SLICE, 200, &slice("10.0.0.1"));
    let changed = run(&cluster).await.unwrap();
    assert_eq!(changed.last().unwrap(), "DaemonSet kube-system/kube-apiserver");
    assert_eq!(address(&cluster, APISERVER), "10.0.0.77");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_end_is_named() {
    let cluster = cluster();
    cluster.change(PROXY, |set| set["metadata"]["generation"] = json!(2));
    let error = run(&cluster).await.unwrap_err();
    assert!(error.to_string().contains("kube-proxy: its controller has not seen the change yet"), "{error}");
    cluster.change(PROXY, |set| {
        set["status"] = json!({"observedGeneration": 2, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1});
    });
    let said = Mutex::new(Vec::new());
    let options = Options::new("none".into(), "n".into());
    let rendered = rendered();
    let rendered: Vec<&Value> = rendered.iter().collect();
    let api = Patient::new(cluster.client());
    follow_in(&options, &api, &rendered, &moved(), &|what: &str| said.lock().unwrap().push(what.to_owned()))
        .await
        .unwrap();
    assert_eq!(*said.lock().unwrap(), [] as [&str; 0]);
}
