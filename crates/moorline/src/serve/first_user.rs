//! The first user: somebody has to be able to sign in without any configuration.

use std::path::{Path, PathBuf};

use moorline_core::port::Users as _;
use moorline_core::user::Role;
use moorline_core::{Masked, TenantId};
use moorline_registry::Registry;
use moorline_web::password::made_password;

/// The login that is made.
pub const LOGIN: &str = "admin";
/// The 0600 file with its passwords.
const FILE: &str = "first-user.txt";
/// Makes `admin` if there is no user at all, and writes its passwords into a 0600 file; returns the file then.
///
/// # Errors
/// The registry or the file fails.
pub async fn ensure(registry: &Registry, data: &Path) -> anyhow::Result<Option<PathBuf>> {
    let users = registry.users();
    if !users.list(&TenantId::home()).is_empty() {
        return Ok(None);
    }
    let password = made_password();
    let file = data.join(FILE);
    let known = format!("login = {LOGIN}\npassword = {password}\n");
    // First: a user whose password nobody has would be worse than a password without a user.
    super::write_private(&file, &known)?;
    let stream = users
        .add(
            LOGIN.parse()?,
            TenantId::home(),
            Role::Admin,
            Masked::new(password.clone()),
        )
        .await?;
    let text = format!(
        "{known}stream_password = {}\n\n\
         # The first is for the web page, the second for players. Delete this file once you know them;\n\
         # moorline user passwd {LOGIN} makes another password, with --stream another one for players.\n",
        stream.reveal(),
    );
    super::write_private(&file, &text)?;
    Ok(Some(file))
}

/// A line of the file.
pub fn read(file: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(" = ")
            .map(str::to_owned)
    })
}
