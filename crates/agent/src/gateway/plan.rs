//! Whose agent ends when the owner's file changes: a pure decision.

use super::approved::Approved;

/// The names of those who run and are not approved any more as they were started.
pub(super) fn ends<'a>(
    running: impl Iterator<Item = (&'a str, &'a Approved)>,
    approved: &[Approved],
) -> Vec<String> {
    running
        .filter(|(_, started)| !approved.contains(started))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::approved::approved as read;

    #[test]
    fn whose_line_is_gone_or_changed_ends_and_nobody_else() {
        let before = "lan yard 192.0.2.1:554\nlan door 192.0.2.2:554\nlan.door login a:b\nlan roof 192.0.2.3:554\n";
        let (running, wrong) = read(before);
        assert_eq!(wrong, []);
        let ends_at = |text: &str| {
            let (approved, _) = read(text);
            let running = running.iter();
            ends(running.map(|one| (one.name.as_str(), one)), &approved)
        };
        assert_eq!(ends_at(before), [""; 0]);
        assert_eq!(ends_at(&before.replace("a:b", "a:c")), ["door"]);
        assert_eq!(ends_at(&before.replace("192.0.2.1", "192.0.2.9")), ["yard"]);
        assert_eq!(ends_at("lan roof 192.0.2.3:554"), ["yard", "door"]);
        assert_eq!(ends_at(&format!("{before}lan shed 192.0.2.4:554")), [""; 0]);
    }
}
