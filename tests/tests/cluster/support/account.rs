//! kubectl as an account of the installation, as if it had been taken over.

use super::Moorline;

/// What the API server said to `account`, namespace and name, for these words.
pub(crate) async fn kubectl_as(
    moorline: &Moorline,
    account: &str,
    words: &[&str],
) -> Result<(), String> {
    let who = format!("--as=system:serviceaccount:{account}");
    let mut all = vec![
        &*who,
        "--as-group=system:serviceaccounts",
        "--as-group=system:authenticated",
    ];
    all.extend(words);
    let output = moorline.cluster().try_kubectl(&all).await.unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// It has to have been refused, for that reason.
#[track_caller]
pub(crate) fn refused(what: &str, answer: Result<(), String>, why: &str) {
    let Err(said) = answer else {
        panic!("{what} was let through");
    };
    assert!(said.contains(why), "{what}: {said}");
}
