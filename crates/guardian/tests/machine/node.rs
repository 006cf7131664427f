//! A model of one node: kubelet, API and its controllers, disk, and the guardian with its machine.

use guardian::machine::{
    Action, ActionKind, ApiView, Disk, Event, Generation, GenerationId, Limits, Machine, Observation, Report,
};
use objects::Origin;

use crate::kubelet::{BECOMES_READY, Behaviour, DRAIN, POD_START, Pod, State, digest};
use crate::witness::Witness;

/// A pod as the API's store has it.
#[derive(Debug, Clone)]
struct Object {
    uid: String,
    revision: u64,
    content: usize,
    deleted: bool,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub now: u64,
    /// The component is the API itself: it answers while an instance is Ready.
    is_api: bool,
    behaviours: Vec<Behaviour>,
    /// The parent's template: revision and content.
    pub template: (u64, usize),
    pub parent: bool,
    pub wanted: bool,
    pub others: bool,
    objects: Vec<Object>,
    pub pods: Vec<Pod>,
    /// A pod of the API is made then.
    creates_at: Option<u64>,
    pub disk: Disk,
    uids: u64,
    // What goes wrong.
    pub backend_up: bool,
    pub disk_full: bool,
    pub runtime_hangs: bool,
    pub api_blocked: bool,
    /// The guardian is killed right after (true) or before (false) its next change on the disk.
    pub kill_at_change: Option<bool>,
    machine: Machine,
    observed: Option<Observation>,
    pub reports: Vec<Report>,
    down_since: Option<u64>,
    /// Longest time in which nobody was Ready.
    pub longest_down: u64,
    pub witness: Witness,
}

impl Node {
    /// The API's healthy instance runs and is Ready; nothing is on the disk.
    pub fn new(is_api: bool) -> Self {
        let limits = Limits::default();
        let mut node = Self {
            now: 1_000_000,
            is_api,
            behaviours: vec![Behaviour::Healthy],
            template: (1, 0),
            parent: true,
            wanted: true,
            others: false,
            objects: Vec::new(),
            pods: Vec::new(),
            creates_at: None,
            disk: Disk::default(),
            uids: 0,
            backend_up: true,
            disk_full: false,
            runtime_hangs: false,
            api_blocked: false,
            kill_at_change: None,
            machine: Machine::new(Disk::default(), limits),
            observed: None,
            reports: Vec::new(),
            down_since: None,
            longest_down: 0,
            witness: Witness::default(),
        };
        let uid = node.uid();
        node.objects.push(Object { uid: uid.clone(), revision: 1, content: 0, deleted: false });
        node.pods.push(Pod::new(uid, Origin::Api, 1, 0, node.now));
        node.now += BECOMES_READY;
        node.pods[0].started = node.now - BECOMES_READY;
        node.pods[0].state = State::Runs { ready_from: Some(node.now), dies_at: None };
        node
    }

    /// A node whose first revision was proven.
    pub fn proven(is_api: bool) -> Self {
        let mut node = Self::new(is_api);
        node.run(90_000);
        assert!(node.disk.good.is_some());
        node.reports.clear();
        node.longest_down = 0;
        node
    }

    fn uid(&mut self) -> String {
        self.uids += 1;
        format!("pod{}", self.uids)
    }

    // ---- what people and power companies do ----

    pub fn set_revision(&mut self, behaviour: Behaviour) {
        self.behaviours.push(behaviour);
        self.template = (self.template.0 + 1, self.behaviours.len() - 1);
    }

    /// Goes back to the template's first content, as a new revision.
    pub fn undo(&mut self) {
        self.template = (self.template.0 + 1, 0);
    }

    /// The kubelet puts new files under the pods that run; their containers notice nothing.
    pub fn rotate_secret(&mut self, behaviour: Behaviour) {
        self.behaviours.push(behaviour);
        let content = self.behaviours.len() - 1;
        self.template.1 = content;
        self.objects.iter_mut().for_each(|object| object.content = content);
        for pod in self.pods.iter_mut().filter(|pod| pod.is_api()) {
            (pod.content, pod.content_since) = (content, self.now);
        }
    }

    pub fn delete_pods(&mut self) {
        if self.api_answers() {
            self.objects.iter_mut().for_each(|object| object.deleted = true);
        }
    }

    /// What was proven works no more (a certificate has expired).
    pub fn spoil(&mut self, content: usize, behaviour: Behaviour) {
        self.behaviours[content] = behaviour;
    }

    /// A container exits by itself.
    pub fn crash(&mut self) {
        for pod in &mut self.pods {
            if let State::Runs { dies_at, .. } = &mut pod.state {
                *dies_at = Some(self.now);
            }
        }
    }

    pub fn power_cut(&mut self) {
        // The runtime's memory of dead containers is of no use to anybody and not modelled; the
        // objects stay in the store.
        self.pods.clear();
        for object in &mut self.objects {
            object.revision = object.revision.max(1);
        }
        self.creates_at = None;
        self.restart_guardian();
    }

    pub fn restart_guardian(&mut self) {
        self.machine = Machine::new(self.disk.clone(), Limits::default());
        self.observed = None;
        self.witness.restarted(self.now);
    }

    pub fn set_temporary(&mut self, there: bool) {
        self.pods.retain(|pod| pod.origin != Origin::Temporary);
        if there {
            self.behaviours.push(Behaviour::Healthy);
            let (uid, content) = (self.uid(), self.behaviours.len() - 1);
            self.pods.push(Pod::new(uid, Origin::Temporary, 0, content, self.now));
        }
    }

    /// Nothing goes wrong any more, and the parent is there.
    pub fn calm(&mut self) {
        (self.backend_up, self.disk_full, self.runtime_hangs, self.api_blocked) = (true, false, false, false);
        (self.parent, self.wanted, self.others, self.kill_at_change) = (true, true, false, None);
        self.set_temporary(false);
    }

    // ---- how it goes on ----

    /// Lets `ms` pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.settle();
            self.guard();
            let next = self.next_change().map_or(end, |at| at.max(self.now + 1));
            if next > end || self.now >= end {
                break;
            }
            self.now = next;
        }
        self.now = end;
        self.settle();
        self.guard();
    }

    fn next_change(&self) -> Option<u64> {
        let pods = self.pods.iter().filter_map(|pod| pod.next_change(self.now));
        let wake = self.machine.wake_after().map(|ms| self.now.max(self.witness.stepped_at + ms));
        // One that was just started looks at once.
        let begins = self.observed.is_none().then_some(self.now + 1);
        pods.chain(self.creates_at).chain(wake).chain(begins).min()
    }

    pub fn api_answers(&self) -> bool {
        !self.is_api || self.pods.iter().any(|pod| pod.ready(self.now, self.backend_up))
    }

    /// Kubelet and controllers do what is due.
    fn settle(&mut self) {
        let (now, up) = (self.now, self.backend_up);
        let behaviours = &self.behaviours;
        self.pods.retain_mut(|pod| pod.step(now, up, behaviours));
        self.static_pods();
        let down = !self.pods.iter().any(|pod| pod.ready(now, up));
        if let Some(since) = self.down_since {
            self.longest_down = self.longest_down.max(now - since);
        }
        self.down_since = down.then(|| self.down_since.unwrap_or(now));
        if self.api_answers() {
            self.controllers();
            self.api_pods();
        }
    }

    fn static_pods(&mut self) {
        let placed = self.disk.placed.clone();
        let now = self.now;
        for pod in self.pods.iter_mut().filter(|pod| pod.is_copy(None)) {
            if !pod.is_copy(placed.as_ref()) || placed.is_none() {
                pod.end(now + DRAIN);
            }
        }
        // The kubelet starts the same static pod again only when the one that ends is gone.
        let Some(id) = placed else { return };
        if !self.pods.iter().any(|pod| pod.is_copy(Some(&id))) {
            let content = self.disk.generations.iter().find(|g| g.id == id).expect("placed is whole");
            let content = content.digest.0[1..].parse().unwrap();
            let uid = self.uid();
            let origin = Origin::Checkpoint { generation: id.0 };
            self.pods.push(Pod::new(uid, origin, 0, content, now + POD_START));
        }
    }

    fn controllers(&mut self) {
        let here = self.parent && self.wanted;
        let (revision, content) = self.template;
        let current = |object: &Object| !object.deleted && object.revision == revision;
        if here && !self.objects.iter().any(current) {
            let at = *self.creates_at.get_or_insert(self.now + 500);
            if at <= self.now {
                self.creates_at = None;
                let uid = self.uid();
                self.objects.push(Object { uid, revision, content, deleted: false });
            }
        } else {
            self.creates_at = None;
        }
        let ready = |uid: &str| self.pods.iter().any(|p| p.uid == uid && p.ready(self.now, self.backend_up));
        let new_ready = self.objects.iter().any(|o| current(o) && ready(&o.uid));
        let old = |o: &Object| o.revision != revision && new_ready;
        let deleted: Vec<_> = self.objects.iter().map(|o| o.deleted || !here || old(o)).collect();
        self.objects.iter_mut().zip(deleted).for_each(|(object, deleted)| object.deleted = deleted);
    }

    fn api_pods(&mut self) {
        let now = self.now;
        let pods = &mut self.pods;
        self.objects.retain(|object| {
            let pod = pods.iter_mut().find(|pod| pod.uid == object.uid);
            match (pod, object.deleted) {
                (Some(pod), true) => pod.end(now + if pod.runs() { DRAIN } else { 1 }),
                (None, true) => return false,
                (Some(_), false) => {}
                (None, false) => {
                    let Object { uid, revision, content, .. } = object.clone();
                    pods.push(Pod::new(uid, Origin::Api, revision, content, now + POD_START));
                }
            }
            true
        });
    }

    /// The guardian looks, when there is news or it wanted to, and does what the machine asks for.
    fn guard(&mut self) {
        let seen = self.look();
        let woken = self.machine.wake_after().is_some_and(|ms| self.witness.stepped_at + ms <= self.now);
        let before = Observation { now_ms: self.now, ..self.observed.clone().unwrap_or_default() };
        if self.observed.is_some() && before == seen && !woken {
            return;
        }
        self.observed = Some(seen.clone());
        self.witness.look(&seen, &self.disk, &self.pods);
        let mut event = Event::Observed(seen.clone());
        for _ in 0..50 {
            let actions = self.machine.step(event.clone());
            self.witness.stepped_at = self.now;
            self.witness.step(&self.machine, &event, &actions);
            let Some(result) = self.perform(actions) else { return };
            event = result;
        }
        panic!("the machine never comes to rest");
    }

    fn look(&self) -> Observation {
        let answers = self.api_answers() && !self.api_blocked;
        let api = ApiView {
            expected: self.objects.iter().any(|object| !object.deleted),
            parent_exists: self.parent,
            others_serve: self.others,
        };
        let seen = |pod: &Pod| pod.seen(self.now, self.backend_up, answers);
        Observation {
            now_ms: self.now,
            runtime: (!self.runtime_hangs).then(|| self.pods.iter().map(seen).collect()),
            api: answers.then_some(api),
            wanted: answers.then_some(self.wanted),
            withheld: false,
        }
    }

    /// Does the one change that is asked for; its result.
    fn perform(&mut self, actions: Vec<Action>) -> Option<Event> {
        let mut change = None;
        for action in actions {
            match action {
                Action::Report(report) => self.reports.push(report),
                other => change = Some(other),
            }
        }
        let action = change?;
        self.witness.allows(&action, &self.disk, &self.pods, self.now);
        if self.kill_at_change == Some(false) {
            self.kill_at_change = None;
            self.restart_guardian();
            return None;
        }
        let result = self.change(action);
        self.witness.changed(&self.disk);
        if self.kill_at_change == Some(true) {
            self.kill_at_change = None;
            self.restart_guardian();
            return None;
        }
        // The kubelet sees the directory at once; what the machine saw is from before.
        self.static_pods();
        Some(result)
    }

    fn change(&mut self, action: Action) -> Event {
        let now_ms = self.now;
        let full = |failed| Event::Failed { now_ms, failed, error: "no space left on device".to_owned() };
        match action {
            Action::Write { .. } if self.disk_full => full(ActionKind::Write),
            Action::Place { .. } if self.disk_full => full(ActionKind::Place),
            Action::Promote { .. } if self.disk_full => full(ActionKind::Promote),
            Action::Write { pod, digest } => {
                self.uids += 1;
                let content =
                    self.pods.iter().find(|p| p.uid == pod).expect("an instance that is there").content;
                assert_eq!(digest, crate::kubelet::digest(content));
                let generation =
                    Generation { id: GenerationId(format!("{}-{}", self.uids, digest.0)), digest };
                self.disk.generations.push(generation.clone());
                Event::Written { now_ms, generation }
            }
            Action::Promote { generation } => {
                self.disk.good = Some(generation.clone());
                Event::Promoted { now_ms, generation }
            }
            Action::Prune { generations } => {
                self.disk.generations.retain(|g| !generations.contains(&g.id));
                Event::Pruned { now_ms, generations }
            }
            Action::Place { generation } => {
                self.disk.placed = Some(generation.clone());
                Event::Placed { now_ms, generation }
            }
            Action::Remove { .. } => {
                self.disk.placed = None;
                Event::Removed { now_ms }
            }
            Action::Uninstall => {
                self.disk = Disk::default();
                Event::Uninstalled { now_ms }
            }
            Action::Report(_) => unreachable!("no change"),
        }
    }

    // ---- what is asked of it ----

    pub fn behaviour(&self, content: usize) -> Behaviour {
        self.behaviours[content]
    }

    pub fn behaviour_of(&self, generation: &Generation) -> Behaviour {
        let known = (0..self.behaviours.len()).find(|content| digest(*content) == generation.digest);
        self.behaviours[known.unwrap()]
    }

    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Serving pods.
    pub fn serving(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.ready(self.now, self.backend_up) && pod.ends_at.is_none())
    }
}
