// SPDX-License-Identifier: Apache-2.0
//! A child's checkpoint: a file that it may rewrite, and what of it the server has.

use std::path::PathBuf;

use serde_json::value::RawValue;

/// The server's limit; a larger one would be refused and is left alone.
const MAX_CHECKPOINT: u64 = 1 << 20;

/// A child's checkpoint file and what of it the server has.
pub struct Checkpoint {
    file: PathBuf,
    /// What the server has.
    pub sent: Option<Box<RawValue>>,
}

impl Checkpoint {
    /// Nothing sent yet.
    pub fn new(file: PathBuf) -> Self {
        Self { file, sent: None }
    }

    /// Puts the job's checkpoint into the file.
    pub fn restore(&mut self, checkpoint: &RawValue) -> std::io::Result<()> {
        std::fs::write(&self.file, checkpoint.get())?;
        self.sent = Some(checkpoint.to_owned());
        Ok(())
    }

    /// What is in the file now, if it is JSON that the server does not have. Half a file is not JSON and is read
    /// again next time.
    pub fn changed(&self) -> Option<Box<RawValue>> {
        let about = std::fs::metadata(&self.file).ok()?;
        if about.len() > MAX_CHECKPOINT {
            return None;
        }
        let text = std::fs::read_to_string(&self.file).ok()?;
        let json = valid_json(text.trim())?;
        (self.sent.as_ref().map(|sent| sent.get()) != Some(json.get())).then_some(json)
    }
}

/// The text as JSON, if it is and is not nested deeper than the server takes.
pub fn valid_json(text: &str) -> Option<Box<RawValue>> {
    serde_json::from_str::<serde_json::Value>(text).ok()?;
    serde_json::from_str::<&RawValue>(text).ok().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_new_json_is_sent() {
        let file = std::env::temp_dir().join(crate::client::unique_token());
        let mut checkpoint = Checkpoint::new(file.clone());
        assert!(checkpoint.changed().is_none());
        let first = valid_json("{\"page\":1}").unwrap();
        checkpoint.restore(&first).unwrap();
        assert!(checkpoint.changed().is_none());
        std::fs::write(&file, "{\"page\":").unwrap();
        assert!(checkpoint.changed().is_none());
        std::fs::write(&file, "{\"page\":22}\n").unwrap();
        assert_eq!(checkpoint.changed().unwrap().get(), "{\"page\":22}");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn too_deep_is_not_json_for_us() {
        assert!(valid_json(&format!("{}{}", "[".repeat(100), "]".repeat(100))).is_some());
        assert!(valid_json(&format!("{}{}", "[".repeat(200), "]".repeat(200))).is_none());
    }
}
