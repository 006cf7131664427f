//! How images are referred to: by name and digest, so that nobody puts another one under a name. containerd's CRI looks
//! such a reference up without its tag (`ParseDockerRef` of github.com/distribution/reference), so it has to have each
//! image under two names.

use std::borrow::Cow;

use crate::oci::{Descriptor, Manifest};
use crate::{Bundle, BundleError, ImageRef, Result};

impl ImageRef {
    /// Its name, tag and digest: what a pod says to run this very image.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.digest)
    }

    /// The names under which containerd has it: that with the tag, and that with the digest.
    pub fn stored_names(&self) -> [String; 2] {
        [self.name.clone(), stored_name(&self.reference()).into_owned()]
    }

    /// Whether that is what a reference means.
    pub(crate) fn is_meant_by(&self, reference: &str) -> bool {
        let [tagged, digested] = self.stored_names();
        reference == tagged || reference == digested || reference == self.reference()
    }
}

impl Bundle {
    /// Whether there is the image that a reference means: of its tag, its digest, or both.
    pub fn has_image(&self, reference: &str) -> bool {
        self.images().iter().any(|image| image.is_meant_by(reference))
    }

    /// The image that a reference means, with its manifest.
    ///
    /// # Errors
    /// [`BundleError::NoImage`].
    pub(crate) fn image(&self, reference: &str) -> Result<(&ImageRef, &Descriptor, &Manifest)> {
        let mut images = self.images().iter().zip(&self.image_manifests);
        let found = images.find(|(image, _)| image.is_meant_by(reference));
        let (image, (descriptor, manifest)) = found
            .ok_or_else(|| BundleError::NoImage { name: reference.to_owned(), dir: self.dir().to_owned() })?;
        Ok((image, descriptor, manifest))
    }
}

/// The name under which containerd has what a reference means: beside a digest, the tag says nothing.
pub fn stored_name(reference: &str) -> Cow<'_, str> {
    let Some((name, digest)) = reference.split_once('@') else { return Cow::Borrowed(reference) };
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].find(':') {
        Some(colon) => Cow::Owned(format!("{}@{digest}", &name[..last + colon])),
        None => Cow::Borrowed(reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_digest_the_tag_says_nothing() {
        for (reference, stored) in [
            ("a/b:v1", "a/b:v1"),
            ("a/b:v1@sha256:00", "a/b@sha256:00"),
            ("a/b@sha256:00", "a/b@sha256:00"),
            ("a:5000/b@sha256:00", "a:5000/b@sha256:00"),
            ("a:5000/b:v1@sha256:00", "a:5000/b@sha256:00"),
        ] {
            assert_eq!(stored_name(reference), stored, "{reference}");
        }
    }
}
