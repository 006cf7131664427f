//! A node's disk, and the members of an etcd that keeps what it is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Client, ClientError, Connection};
use cri::{Cri, CriError};
use host::command::CommandError;
use steer::probe::Probe;

use super::*;
use crate::surroundings::{Answer, Surroundings, Watch};

#[derive(Debug, Default)]
struct Etcd3(Mutex<Vec<Member>>);

impl Surroundings for Etcd3 {
    fn runtime(&self, _: PathBuf) -> Answer<'_, Cri, CriError> {
        unreachable!("nobody asks the runtime")
    }

    fn client(&self, _: &Connection) -> Result<Client, ClientError> {
        unreachable!("nobody asks the API")
    }

    fn watch(&self, _: u16, _: Probe, _: Cri, _: Option<String>) -> Watch {
        unreachable!("nothing is brought up")
    }

    fn restart_kubelet(&self) -> Result<(), CommandError> {
        Ok(())
    }

    fn members<'a>(&'a self, _: &'a Etcd) -> Answer<'a, Vec<Member>, String> {
        let members = self.0.lock().unwrap().clone();
        Box::pin(async {
            if members.is_empty() { Err("connection refused".to_owned()) } else { Ok(members) }
        })
    }

    fn set_peer_urls<'a>(
        &'a self,
        _: &'a Etcd,
        member: &'a Member,
        urls: &'a [String],
    ) -> Answer<'a, (), String> {
        let mut members = self.0.lock().unwrap();
        members.iter_mut().find(|known| known.id == member.id).unwrap().peer_urls = urls.to_vec();
        Box::pin(async { Ok(()) })
    }

    fn owner(&self, _: (u32, u32)) -> host::fs::Owner {
        None
    }
}

struct World {
    dir: tempfile::TempDir,
    options: Options,
    etcd: Arc<Etcd3>,
}

const OLD: &str = "192.0.2.1";
const NEW: &str = "192.0.2.7";

fn manifest(address: &str) -> String {
    let text = format!(
        "kind: Pod\nmetadata:\n  name: etcd\n  uid: \nspec:\n  containers:\n  - args:\n    - --data-dir=/d\n    \
         - --initial-advertise-peer-urls=https://{address}:2380\n    - --initial-cluster-state=existing\n    \
         - --listen-client-urls=https://127.0.0.1:2379,https://{address}:2379\n"
    );
    member::stamped(&text).unwrap()
}

fn known(name: &str, address: &str) -> Member {
    Member {
        id: name.to_owned(),
        name: name.to_owned(),
        peer_urls: vec![format!("https://{address}:2380")],
        client_urls: Vec::new(),
        learner: false,
    }
}

impl World {
    fn new(members: Vec<Member>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let etcd = Arc::new(Etcd3(Mutex::new(members)));
        let mut options = Options::new(dir.path().join("assets"), "n".to_owned());
        options.timeout = Duration::from_secs(5);
        let options = options.below(dir.path(), Arc::clone(&etcd) as Arc<dyn Surroundings>);
        for part in ["assets/auth", "assets/manifests", "assets/bootstrap-manifests"] {
            host::fs::create_dir_all(&dir.path().join(part), 0o700).unwrap();
        }
        let world = Self { dir, options, etcd };
        world.write("assets/auth/kubeconfig", "kind: Config\n");
        world
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o700).unwrap();
        host::fs::write(&path, text.as_bytes(), 0o600).unwrap();
    }

    fn read(&self, path: &str) -> String {
        host::fs::read_to_string(&self.dir.path().join(path.trim_start_matches('/'))).unwrap()
    }

    async fn rejoin(&self, moved: bool) -> Result<Option<String>, StartError> {
        let host = ["127.0.0.1", NEW].map(|ip| ip.parse().unwrap());
        rejoin(&self.options, &host, moved, |_| {}).await
    }
}

fn moved() -> [Moved; 1] {
    [Moved { was: OLD.parse().unwrap(), is: NEW.parse().unwrap() }]
}

const MANIFEST: &str = "etc/kubernetes/manifests/etcd.yaml";

#[test]
fn etcd_s_manifest_and_the_good_one_move_and_keep_their_edits() {
    let world = World::new(Vec::new());
    assert_eq!(move_files(&world.options, &moved()).unwrap(), [] as [PathBuf; 0], "an etcd elsewhere");
    let edited = member::stamped(&manifest(OLD).replace("/d\n", "/d\n    - --v=2\n")).unwrap();
    world.write(MANIFEST, &edited);
    world.write(ETCD_GOOD.trim_start_matches('/'), &manifest(OLD));
    let files = move_files(&world.options, &moved()).unwrap();
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(world.read(ETCD_GOOD), manifest(NEW));
    let now = world.read(MANIFEST);
    assert!(now.contains("--v=2") && now.contains(NEW) && !now.contains(OLD), "{now}");
    assert_eq!(member::stamped(&now), None);
    assert_eq!(move_files(&world.options, &moved()).unwrap(), [] as [PathBuf; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_only_member_gets_its_node_s_address_and_only_once() {
    let world = World::new(vec![known("n", OLD)]);
    assert_eq!(world.rejoin(true).await.unwrap(), None, "an etcd elsewhere");
    world.write(MANIFEST, &manifest(NEW));
    for moved in [true, false] {
        // Whoever was killed in between does not know any more that it moved.
        *world.etcd.0.lock().unwrap() = vec![known("n", OLD)];
        let told = world.rejoin(moved).await.unwrap();
        assert_eq!(told.as_deref(), Some("etcd knows its member by https://192.0.2.7:2380"));
        assert_eq!(world.rejoin(moved).await.unwrap(), None);
    }
    world.write(MANIFEST, &manifest(OLD));
    *world.etcd.0.lock().unwrap() = vec![known("n", OLD)];
    assert_eq!(world.rejoin(false).await.unwrap(), None, "its manifest leads nowhere better");
}

#[tokio::test(start_paused = true)]
async fn an_etcd_that_does_not_serve_is_waited_for_where_it_matters() {
    let world = World::new(Vec::new());
    world.write(MANIFEST, &manifest(NEW));
    assert_eq!(world.rejoin(false).await.unwrap(), None);
    let error = world.rejoin(true).await.unwrap_err();
    assert!(
        error.to_string().starts_with(
            "etcd was not ready within 5 s\n\
            it waited for etcd to serve at this node's address: connection refused\nits log: "
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_of_several_members_is_not_moved_behind_the_others_backs() {
    let world = World::new(vec![known("m", "192.0.2.2"), known("n", OLD)]);
    world.write(MANIFEST, &manifest(NEW));
    let error = world.rejoin(true).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "etcd has 2 members, and the others know this node's by https://192.0.2.1:2380: m, n"
    );
    assert_eq!(world.rejoin(false).await.unwrap(), None);
    assert_eq!(world.etcd.0.lock().unwrap()[1], known("n", OLD));
}
