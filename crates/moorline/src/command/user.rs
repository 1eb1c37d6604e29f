//! `moorline user …`

use hyper::Method;
use moorline_core::user::Role;
use moorline_web::api::{Credentials, PasswordSet, UserAdd, UserView};
use serde_json::json;

use crate::args::{self, Output, User};
use crate::client::{Client, segment};
use crate::command::secret;
use crate::moments;
use crate::output::{self, Table};

/// Runs a user command in the tenant that is named: an embedded installation has one.
///
/// # Errors
/// What the server refuses, in words.
pub async fn run(client: &Client, command: User, format: Output) -> anyhow::Result<()> {
    let of = match &command {
        User::Add { of, .. }
        | User::List { of }
        | User::Rm { of, .. }
        | User::Passwd { of, .. } => of,
    };
    let users = format!("/tenants/{}/users", of.tenant());
    match command {
        User::Add {
            login,
            role,
            password_file,
            ..
        } => {
            let password = password_file
                .map(|file| secret(Some(&file), "", "").map(|text| text.to_string()))
                .transpose()?;
            let request = UserAdd {
                login,
                role: role_of(role),
                password,
            };
            let made: Credentials = client.json(Method::POST, &users, Some(&request)).await?;
            output::print(format, &made, || {
                format!("user {} added\n{}", made.login, credentials(&made))
            })
        }
        User::List { .. } => {
            let list: Vec<UserView> = client.get(&users).await?;
            output::print(format, &list, || table(&list))
        }
        User::Rm { login, .. } => {
            client
                .act(
                    Method::DELETE,
                    &format!("{users}/{}", segment(&login)),
                    None::<&()>,
                )
                .await?;
            output::print(format, &json!({"login": login}), || {
                format!("user {login} removed; their streams have ended")
            })
        }
        User::Passwd {
            login,
            stream: true,
            ..
        } => {
            let path = format!("{users}/{}/stream-password", segment(&login));
            let made: Credentials = client.json(Method::POST, &path, None::<&()>).await?;
            output::print(format, &made, || credentials(&made))
        }
        User::Passwd {
            login,
            password_file,
            ..
        } => {
            let password = password_file
                .map(|file| secret(Some(&file), "", "").map(|text| text.to_string()))
                .transpose()?;
            let path = format!("{users}/{}/password", segment(&login));
            let made: Credentials = client
                .json(Method::PUT, &path, Some(&PasswordSet { password }))
                .await?;
            output::print(format, &made, || {
                format!("password of {login} changed\n{}", credentials(&made))
            })
        }
    }
}

/// Runs a user command on a cluster, by one of its front doors.
///
/// # Errors
/// No tenant is known, no front door is reached, or it refuses.
#[cfg(feature = "kube")]
pub async fn on_cluster(command: args::UserCommand, format: Output) -> anyhow::Result<()> {
    use crate::cluster::choice::needed_of_context;
    use crate::cluster::entered::Entered;
    let args::UserCommand { on, mut command } = command;
    let chosen = on.which.connect().await?;
    let of = match &mut command {
        User::Add { of, .. }
        | User::List { of }
        | User::Rm { of, .. }
        | User::Passwd { of, .. } => of,
    };
    if of.tenant.is_none() {
        of.tenant = Some(needed_of_context(&chosen)?);
    }
    let client = Client::Entered(Box::new(Entered::front_door(on)));
    run(&client, command, format).await
}

fn role_of(role: args::Role) -> Role {
    match role {
        args::Role::Viewer => Role::Viewer,
        args::Role::Operator => Role::Operator,
        args::Role::Admin => Role::Admin,
    }
}

fn credentials(made: &Credentials) -> String {
    let mut text = String::new();
    if let Some(password) = &made.password {
        text.push_str(&format!(
            "password:        {password}   (web page; shown once)\n"
        ));
    }
    if let Some(password) = &made.stream_password {
        text.push_str(&format!(
            "stream password: {password}   (players, with user {})\n",
            made.login
        ));
    }
    text
}

fn table(users: &[UserView]) -> String {
    let mut table = Table::new(&["LOGIN", "ROLE", "ADDED"]);
    for user in users {
        let added = moments::local(user.created, &moments::machine_zone());
        table.row([user.login.to_string(), user.role.to_string(), added]);
    }
    table.render()
}
