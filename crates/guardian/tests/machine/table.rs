//! The table of docs/guardian.md: the real machine in each situation, held for a quarter of an hour.
//! `UPDATE_DOCS=1 cargo test --release -p guardian --test machine table` writes it again.

use std::fmt::Write;

use guardian::machine::{
    Action, ApiView, Digest, Disk, Event, Generation, GenerationId, Instance, Limits, Machine, Observation,
};
use objects::Origin;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guardian.md");
const BEGIN: &str = "<!-- generated from the state machine: begin -->\n";
const END: &str = "<!-- generated from the state machine: end -->";
const QUARTER_HOUR: u64 = 900_000;
/// The prelude's moment.
const T0: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    None,
    Starts,
    Serves,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digests {
    Proven,
    Unproven,
}

struct Situation {
    text: &'static str,
    /// What ran before was the API's instance `pod`, Ready; if not, nothing was seen before.
    before: bool,
    api: fn() -> Vec<Instance>,
    view: Option<ApiView>,
    wanted: Option<bool>,
    runtime: bool,
    withheld: bool,
}

fn instance(digests: Digests, change: fn(&mut Instance)) -> Vec<Instance> {
    let digest = Digest(if digests == Digests::Proven { "good" } else { "new" }.to_owned());
    let mut instance = Instance {
        pod: "pod".to_owned(),
        container: "container".to_owned(),
        origin: Origin::Api,
        digest: Some(digest),
        revision: 1,
        revision_name: "r1".to_owned(),
        started_ms: 2,
        content_since_ms: 1,
        running: true,
        ready: true,
        terminating: false,
        restarts: 0,
    };
    change(&mut instance);
    vec![instance]
}

fn again(instance: &mut Instance) {
    instance.container = "again".into();
    instance.restarts = 1;
    instance.ready = false;
}

const HERE: Option<ApiView> = Some(ApiView { expected: true, parent_exists: true, others_serve: false });
const PARENT: Option<ApiView> = Some(ApiView { expected: false, parent_exists: true, others_serve: false });
const GONE: Option<ApiView> = Some(ApiView { expected: false, parent_exists: false, others_serve: false });
const ELSEWHERE: Option<ApiView> = Some(ApiView { expected: false, parent_exists: true, others_serve: true });

use Digests::{Proven, Unproven};

#[rustfmt::skip]
fn situations() -> Vec<Situation> {
    let row = |text, api: fn() -> Vec<Instance>, view| Situation { text, before: true, api, view, wanted: view.map(|_| true), runtime: true, withheld: false };
    vec![
        Situation { before: false, ..row("nothing runs and nothing did: the node was started", Vec::new, None) },
        row("nothing runs any more, the API does not answer", Vec::new, None),
        row("nothing runs any more, the API wants it here", Vec::new, HERE),
        row("nothing runs any more, its parent is gone", Vec::new, GONE),
        row("nothing runs any more, the API wants it on another node, where it serves", Vec::new, ELSEWHERE),
        row("a proven instance is Ready", || instance(Proven, |_| {}), HERE),
        row("a new one is Ready", || instance(Unproven, |i| i.pod = "new".into()), HERE),
        row("a new one is Ready, its files came after its start", || instance(Unproven, |i| { i.pod = "new".into(); i.content_since_ms = 3; }), HERE),
        row("a proven one runs, is not Ready", || instance(Proven, |i| i.ready = false), None),
        row("a new one runs, is not Ready yet", || instance(Unproven, |i| { i.pod = "new".into(); i.ready = false; }), None),
        row("a new one was started again after a crash, is not Ready yet", || instance(Unproven, |i| { i.pod = "new".into(); again(i); }), None),
        row("a new one has crashed and waits", || instance(Unproven, |i| { i.pod = "new".into(); again(i); i.running = false; }), None),
        row("the only one is told to end, a successor is to come", || instance(Proven, |i| i.terminating = true), PARENT),
        row("the only one is told to end, its parent is gone", || instance(Proven, |i| i.terminating = true), GONE),
        row("the only one is told to end, a proven successor starts", || {
            let mut both = instance(Proven, |i| i.terminating = true);
            both.extend(instance(Proven, |i| { i.pod = "new".into(); i.ready = false; }));
            both
        }, HERE),
        row("the temporary control plane runs", || instance(Proven, |i| { i.origin = Origin::Temporary; i.ready = false; }), None),
        Situation { wanted: Some(false), ..row("not wanted here any more, another node serves", Vec::new, ELSEWHERE) },
        Situation { wanted: Some(false), ..row("not wanted here any more, nobody else serves", Vec::new, PARENT) },
        Situation { runtime: false, ..row("the container runtime does not answer", Vec::new, None) },
        Situation { withheld: true, ..row("nothing runs any more, etcd's data is not that of this node's member (apiserver)", Vec::new, None) },
    ]
}

fn id(name: &str) -> GenerationId {
    GenerationId(name.to_owned())
}

fn disk(copy: Copy) -> Disk {
    let generation = |name: &str| Generation { id: id(name), digest: Digest(name.to_owned()) };
    let placed = (copy != Copy::None).then(|| id("good"));
    Disk { generations: vec![generation("older"), generation("good")], good: Some(id("good")), placed }
}

fn observed(now_ms: u64, situation: &Situation, copy: Copy, api: Vec<Instance>) -> Event {
    let mut all = api;
    if copy != Copy::None {
        let mut one = instance(Proven, |i| i.pod = "copy".into()).remove(0);
        one.origin = Origin::Checkpoint { generation: id("good").0 };
        one.ready = copy == Copy::Serves;
        all.push(one);
    }
    let runtime = situation.runtime.then_some(all);
    Event::Observed(Observation {
        now_ms,
        runtime,
        api: situation.view,
        wanted: situation.wanted,
        withheld: situation.withheld,
    })
}

/// What the machine does, and when.
fn cell(situation: &Situation, copy: Copy) -> String {
    let mut machine = Machine::new(disk(copy), Limits::default());
    if situation.before {
        machine.step(observed(
            T0,
            &Situation { runtime: true, ..*situation },
            copy,
            instance(Proven, |_| {}),
        ));
    }
    let (mut now, mut done) = (T0, Vec::new());
    let mut event = observed(now, situation, copy, (situation.api)());
    while now - T0 <= QUARTER_HOUR {
        let change = machine.step(event).into_iter().find(|action| !matches!(action, Action::Report(_)));
        let Some(action) = change else {
            let Some(ms) = machine.wake_after() else { break };
            now += ms;
            event = observed(now, situation, copy, (situation.api)());
            continue;
        };
        let (what, result, last) = perform(action, now);
        done.push(format!("{what} {}", after(now - T0)));
        if last {
            break;
        }
        event = result;
    }
    if done.is_empty() { "–".to_owned() } else { done.join(", ") }
}

fn perform(action: Action, now_ms: u64) -> (String, Event, bool) {
    match action {
        Action::Write { digest, .. } => {
            let generation = Generation { id: GenerationId(digest.0.clone()), digest };
            ("write".to_owned(), Event::Written { now_ms, generation }, false)
        }
        Action::Promote { generation } => {
            (format!("promote the {generation} one"), Event::Promoted { now_ms, generation }, false)
        }
        Action::Prune { generations } => ("prune".to_owned(), Event::Pruned { now_ms, generations }, false),
        Action::Place { generation } => {
            (format!("start the {generation} one"), Event::Placed { now_ms, generation }, true)
        }
        Action::Remove { .. } => ("remove the copy".to_owned(), Event::Removed { now_ms }, true),
        Action::Uninstall => ("uninstall".to_owned(), Event::Uninstalled { now_ms }, true),
        Action::Report(_) => unreachable!("filtered"),
    }
}

fn after(ms: u64) -> String {
    if ms == 0 { "at once".to_owned() } else { format!("after {} s", ms / 1000) }
}

fn table() -> String {
    let mut text = String::from(
        "| situation, if it lasts | no copy in place | copy starts | copy serves |\n| --- | --- | --- | --- |\n",
    );
    for situation in situations() {
        let [none, starts, serves] =
            [Copy::None, Copy::Starts, Copy::Serves].map(|copy| cell(&situation, copy));
        writeln!(text, "| {} | {none} | {starts} | {serves} |", situation.text).unwrap();
    }
    text
}

#[test]
fn table_of_the_docs_is_current() {
    let page = host::fs::read_to_string(PAGE.as_ref()).unwrap();
    let (head, rest) = page.split_once(BEGIN).expect("the page says where the table begins");
    let (old, tail) = rest.split_once(END).expect("the page says where the table ends");
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{head}{BEGIN}{table}{END}{tail}");
        host::fs::write(PAGE.as_ref(), page.as_bytes(), 0o644).unwrap();
        return;
    }
    assert!(
        old == table,
        "docs/guardian.md is not current; write it again with \
         `UPDATE_DOCS=1 cargo test --release -p guardian --test machine table`\n{table}"
    );
}
