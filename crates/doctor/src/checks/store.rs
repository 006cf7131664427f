//! What containerd keeps: whether it can use that, and whether images are unpacked as they shall be. Neither is looked at by
//! containerd itself before something does not start.

use std::collections::BTreeSet;
use std::path::Path;

use ::checks::{Check, Kind, kind};
use host::fs::FsError;
use store::{Damage, Standing, look};

use crate::files::Files;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// It cannot be read.
    Unknown(String),
    /// It cannot be used.
    Damaged(Damage),
    /// It can, but for files of images: the names that those have, and what is wrong.
    Whole(Vec<(Vec<String>, String)>),
}

impl Kept {
    /// Looks at containerd's directory on that disk.
    pub(crate) fn read(files: &Files, dir: &str, thorough: bool) -> Self {
        let found = || -> Result<Self, FsError> {
            Ok(match look(&files.path(dir), Path::new(dir))? {
                // That there are no images others tell.
                Standing::Empty => Self::Whole(Vec::new()),
                Standing::Damaged(damage) => Self::Damaged(damage),
                Standing::Whole(store) => {
                    let wrong = store.check(thorough)?.into_iter();
                    Self::Whole(wrong.map(|wrong| (wrong.images.clone(), wrong.to_string())).collect())
                }
            })
        };
        found().unwrap_or_else(|error| Self::Unknown(host::error::chain(&error)))
    }

    /// Both checks. `needed` are the images without which the node does not come back.
    pub(crate) fn checks(&self, needed: &BTreeSet<String>) -> Vec<Check> {
        vec![self.state(), self.images(needed)]
    }

    fn state(&self) -> Check {
        const NAME: &Kind = &kind::CONTAINERD_STATE;
        match self {
            Self::Damaged(damage) => Check::failed(
                NAME,
                format!("{damage}; no container would start"),
                "run `kubestrap up`, which moves containerd's directory away and imports the images of its bundle anew",
            ),
            Self::Unknown(why) => Check::unknown(NAME, why.clone(), "run it as root"),
            Self::Whole(_) => Check::ok(NAME, "what containerd keeps can be used"),
        }
    }

    fn images(&self, needed: &BTreeSet<String>) -> Check {
        const NAME: &Kind = &kind::IMAGE_FILES;
        const REMEDY: &str =
            "run `kubestrap up`, which puts them right out of the images' layers, or out of its bundle";
        let Self::Whole(wrong) = self else {
            return Check::unknown(NAME, "containerd's state cannot be read", "see to that first");
        };
        let needed: BTreeSet<_> = needed.iter().map(|image| bundle::stored_name(image)).collect();
        let told = |is_needed: bool| -> Vec<String> {
            let is_one = |image: &String| needed.contains(image.as_str());
            let of_those = wrong.iter().filter(|(images, _)| images.iter().any(is_one) == is_needed);
            of_those.map(|(_, told)| told.clone()).collect()
        };
        Check::of_problems(NAME, &told(true), &told(false), "images are unpacked as their layers say", REMEDY)
    }
}

#[cfg(test)]
mod tests {
    use ::checks::Outcome;

    use super::*;

    #[test]
    fn a_wrong_file_counts_by_who_needs_its_image() {
        let kept = Kept::Whole(vec![
            (
                vec!["r/a:1".to_owned(), "r/a@sha256:00".to_owned()],
                "r/a:1: /bin/a has 0 bytes, and not 9".to_owned(),
            ),
            (vec!["r/b:1".to_owned()], "r/b:1: /bin/b is gone".to_owned()),
        ]);
        let check = |needed: &str| kept.checks(&[needed.to_owned()].into()).remove(1);
        for needed in ["r/a:1", "r/a:1@sha256:00", "r/a@sha256:00"] {
            let found = check(needed);
            assert_eq!(found.result, Outcome::Failed, "{needed}");
            assert_eq!(found.what, "r/a:1: /bin/a has 0 bytes, and not 9; r/b:1: /bin/b is gone");
            assert!(found.remedy.unwrap().contains("kubestrap up"));
        }
        for other in ["r/c:1", "r/a:1@sha256:11"] {
            assert_eq!(check(other).result, Outcome::Warning, "{other}");
        }
    }
}
