//! What programs say on this node: those of the target about the flags that they would get, etcd's tool about etcd.

use std::path::Path;

use node::programs::Programs;

use crate::before::{Before, StateDir};
use crate::compare::Compared;
use crate::error::UpgradeError;
use crate::observed::{EtcdState, FlagAnswer, PartState};
use crate::part;
use crate::programs;
use crate::target::Target;

/// What they said.
pub(crate) struct Said {
    pub(crate) flags: Vec<FlagAnswer>,
    pub(crate) etcd: EtcdState,
}

/// What is needed to ask them.
pub(crate) struct Tools<'a> {
    pub(crate) target: &'a Target,
    pub(crate) state: &'a StateDir,
    pub(crate) before: Option<&'a Before>,
}

impl Tools<'_> {
    /// Asks the programs of parts that change, the kubelet if its `host` does, and etcd. They lie in the state's
    /// directory meanwhile, which goes again unless a run did not end.
    pub(crate) fn ask(&self, compared: &Compared, host: bool) -> Result<Said, UpgradeError> {
        self.state.create()?;
        let programs = self.target.programs(self.state);
        let mut flags = Vec::new();
        for state in compared.parts.iter().filter(|p| p.part.is_kubernetes() && !p.changes.is_empty()) {
            flags.extend(self.part(&programs, state, compared));
        }
        if host {
            flags.extend(self.kubelet(&programs));
        }
        let etcd = self.etcd(&programs);
        programs.clean()?;
        if self.before.is_none() {
            self.state.remove()?;
        }
        Ok(Said { flags, etcd })
    }

    fn part(&self, programs: &Programs<'_>, state: &PartState, compared: &Compared) -> Option<FlagAnswer> {
        let objects = compared.wanted.get(&state.part)?;
        let workload = objects.iter().find(|o| part::is_workload(&o.value))?;
        let (name, node) = (state.part.name(), &self.target.node);
        let address = node.addresses.first().map_or_else(|| "127.0.0.1".to_owned(), ToString::to_string);
        let flags = programs::flags(&workload.value, &node.name, &address);
        match programs.get(state.wanted_image.as_deref()?, &programs::program_path(name)) {
            Ok(program) => ask(name, &program, &flags),
            // An image that is nowhere is a problem of its own.
            Err(error) => {
                tracing::warn!(error = host::error::chain(&error), "flags were not checked");
                None
            }
        }
    }

    fn kubelet(&self, programs: &Programs<'_>) -> Option<FlagAnswer> {
        let program = match &self.target.bundle {
            Some(bundle) => programs.host_program(bundle, "kubelet").ok()?,
            None => self.target.root.path(names::path::PROGRAMS).join("kubelet"),
        };
        ask("kubelet", &program, &node::kubelet::args(&self.target.node))
    }

    fn etcdctl(&self) -> Option<String> {
        let path = self.target.root.path(names::path::STATIC_PODS).join(names::path::ETCD_FILE);
        let text = host::fs::read_small(&path, assets::member::LARGEST).ok()?;
        let pod = assets::member::pod(&String::from_utf8_lossy(&text)).ok()?;
        causes::store::etcdctl(&pod, &self.target.node.name)
    }

    fn etcd(&self, programs: &Programs<'_>) -> EtcdState {
        let endpoint = self.target.etcd_endpoint();
        let image = etcd::tools_image(&self.target.config, self.target.bundle.as_ref());
        let problem = match programs.get(&image, etcd::ETCDCTL) {
            Ok(program) => {
                let tls = self.target.etcd_credentials();
                etcd::Tool { program: &program, endpoint: &endpoint, tls: &tls }.problem()
            }
            Err(error) => Some(host::error::chain(&error)),
        };
        let snapshot = self.before.and_then(|before| before.snapshot.clone()).filter(|path| path.exists());
        EtcdState {
            endpoint,
            image: self.target.local_etcd(),
            problem,
            etcdctl: self.etcdctl(),
            snapshot: snapshot.map(|path| path.display().to_string()),
        }
    }
}

/// A program that cannot even be run is refused, too.
fn ask(name: &str, program: &Path, flags: &[String]) -> Option<FlagAnswer> {
    programs::ask(name, program, flags).unwrap_or_else(|error| {
        let said = host::error::chain(&error);
        Some(FlagAnswer { program: name.to_owned(), said, refused: true })
    })
}
