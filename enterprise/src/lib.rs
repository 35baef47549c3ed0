// SPDX-License-Identifier: BUSL-1.1
//! The features of jobbie that organisations need. They are always linked; without a licence the open defaults
//! stay in place.
//!
//! [`install`] is the only entry. A feature brings children for the supervisor `optional`, implementations of the
//! hooks in `jobbie_web::seams`, and routes. Nothing else in jobbie knows that this crate exists.
//!
//! There is no feature yet, so [`install`] changes nothing.

use jobbie_actors::seams::Extension;
use jobbie_web::seams::Seams;

/// The places that features plug into, filled with the open defaults before [`install`] sees them.
#[derive(Default)]
pub struct Wiring {
    /// What brings children for the supervisor `optional`: one that gives up closes its feature and nothing else.
    pub extensions: Vec<Box<dyn Extension>>,
    /// The hooks of the HTTP server.
    pub seams: Seams,
}

/// Plugs in every feature of this crate.
pub fn install(wiring: &mut Wiring) {
    let Wiring { extensions: _, seams: _ } = wiring;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_features_the_open_defaults_stay() {
        let mut wiring = Wiring::default();
        install(&mut wiring);
        assert!(wiring.extensions.is_empty());
        assert!(wiring.seams.extensions.is_empty());
        assert!(wiring.seams.authorizer.is_none());
    }
}
