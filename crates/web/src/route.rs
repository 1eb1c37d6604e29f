//! All routes in one table: the router, the OpenAPI document and the test that crosses each with a foreign tenant are made of it.

mod agent_releases;
mod archive;
mod cameras;
mod coverage;
mod enrolments;
mod export;
mod import;
mod live;
mod operations;
mod patch;
mod reach_in;
mod rekey;
mod session;
mod stock;
mod streampoint;
mod users;
mod view;

pub use export::verified;
pub use reach_in::PROTOCOL as REACH_IN;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, delete, get, patch as patch_method, post, put};
use moorline_core::user::Role;

use crate::site::Site;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody.
    Anybody,
    /// A signed-in user of the tenant with at least this role.
    AtLeast(Role),
    /// The machine's own operator, over the Unix socket.
    Local,
}

/// A route of the API.
pub struct Route {
    /// In capitals.
    pub method: &'static str,
    /// Below `/api/v1`, with `{parameters}`.
    pub path: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Who may.
    pub who: Who,
    handler: MethodRouter<Site>,
}

/// All routes.
pub fn routes() -> Vec<Route> {
    use Role::{Admin, Operator, Viewer};
    use Who::{Anybody, AtLeast, Local};
    let route = |method, path, summary, who, handler| Route {
        method,
        path,
        summary,
        who,
        handler,
    };
    vec![
        route(
            "POST",
            "/session",
            "Sign in: sets the session cookie",
            Anybody,
            post(session::sign_in),
        ),
        route(
            "DELETE",
            "/session",
            "Sign out",
            Anybody,
            delete(session::sign_out),
        ),
        route(
            "GET",
            "/me",
            "Who is signed in, and how to watch with a player",
            AtLeast(Viewer),
            get(session::me),
        ),
        route(
            "GET",
            "/server",
            "Names, ports, host keys and disk",
            AtLeast(Viewer),
            get(operations::server),
        ),
        route(
            "GET",
            "/cameras",
            "All cameras that may be seen",
            AtLeast(Viewer),
            get(cameras::all),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras",
            "All cameras of a tenant",
            AtLeast(Viewer),
            get(cameras::list),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras",
            "Add a camera",
            AtLeast(Operator),
            post(cameras::add),
        ),
        route(
            "POST",
            "/tenants/{tenant}/camera-import",
            "Add many cameras, all or none; with dry_run none, and what is wrong with which is told",
            AtLeast(Operator),
            post(import::import),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}",
            "One camera",
            AtLeast(Viewer),
            get(cameras::show),
        ),
        route(
            "PATCH",
            "/tenants/{tenant}/cameras/{camera}",
            "Change a camera",
            AtLeast(Operator),
            patch_method(cameras::change),
        ),
        route(
            "DELETE",
            "/tenants/{tenant}/cameras/{camera}",
            "Remove a camera; with ?erase=true (admins) its recordings too",
            AtLeast(Operator),
            delete(cameras::remove),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras/{camera}/hang-up",
            "End its tunnel",
            AtLeast(Operator),
            post(cameras::hang_up),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras/{camera}/agent",
            "Say a line of MOORLINE/1 to its agent: CONFIG, REFER or REBOOT",
            AtLeast(Admin),
            post(cameras::tell_agent),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras/{camera}/rekey",
            "Let its agent make another key and take it into use; the ones before stay until they are revoked",
            AtLeast(Admin),
            post(rekey::rekey),
        ),
        route(
            "PUT",
            "/tenants/{tenant}/cameras/{camera}/streampoint",
            "Send its stream to another server; its agent goes on reporting here",
            AtLeast(Admin),
            put(streampoint::put),
        ),
        route(
            "DELETE",
            "/tenants/{tenant}/cameras/{camera}/streampoint",
            "Take its stream here again",
            AtLeast(Admin),
            delete(streampoint::delete),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras/{camera}/diagnose",
            "Ask its agent what is wrong; it answers in the camera's status, as said diag.…",
            AtLeast(Operator),
            post(cameras::diagnose),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras/{camera}/keys",
            "Add a key",
            AtLeast(Operator),
            post(cameras::add_key),
        ),
        route(
            "DELETE",
            "/tenants/{tenant}/cameras/{camera}/keys/{fingerprint}",
            "Revoke a key; its sessions end",
            AtLeast(Operator),
            delete(cameras::revoke_key),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/poster",
            "The last key frame as init and fragment",
            AtLeast(Viewer),
            get(live::poster),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/live",
            "Live pictures over a WebSocket",
            AtLeast(Viewer),
            get(live::live),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/play",
            "Recorded pictures over a WebSocket, from ?from= on",
            AtLeast(Viewer),
            get(live::play),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/reach-in",
            "A stream to the camera's own web server, by an upgrade to moorline-stream",
            Local,
            get(reach_in::reach_in),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/coverage",
            "What is recorded in ?from=&to= (at most 32 days), and why what is missing is missing; the best tier at each instant, or ?tier= alone",
            AtLeast(Viewer),
            get(archive::coverage),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/segments",
            "The same by segment, with keys",
            AtLeast(Viewer),
            get(archive::segments),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/export",
            "One MP4 of ?from=&to= (at most 25 hours, in one picture format), of one ?tier= or the best; ?receipt= names it",
            AtLeast(Viewer),
            get(export::export),
        ),
        route(
            "GET",
            "/tenants/{tenant}/cameras/{camera}/exports/{receipt}",
            "Whether the export of that ?receipt= runs, ended or broke off, and what it left out since it cannot be read",
            AtLeast(Viewer),
            get(export::receipt),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras/{camera}/verify",
            "Find what the store lost in ?from=&to= (at most 32 days); ?full=true reads every object (at most 25 hours)",
            AtLeast(Operator),
            post(export::verify),
        ),
        route(
            "GET",
            "/segments/{key}",
            "One stored segment",
            AtLeast(Viewer),
            get(export::segment),
        ),
        route(
            "GET",
            "/tenants/{tenant}/enrolments",
            "Enrolment tokens, newest first, without themselves",
            AtLeast(Operator),
            get(enrolments::list),
        ),
        route(
            "POST",
            "/tenants/{tenant}/enrolments",
            "Make an enrolment token; it is shown once",
            AtLeast(Operator),
            post(enrolments::add),
        ),
        route(
            "DELETE",
            "/tenants/{tenant}/enrolments/{id}",
            "Revoke an enrolment token; the cameras that it made stay",
            AtLeast(Operator),
            delete(enrolments::revoke),
        ),
        route(
            "GET",
            "/tenants/{tenant}/stock",
            "Cameras that batches made and that nobody has claimed",
            AtLeast(Operator),
            get(stock::list),
        ),
        route(
            "POST",
            "/tenants/{tenant}/cameras/{camera}/claim",
            "Claim a camera of the stock: title and site",
            AtLeast(Operator),
            post(stock::claim),
        ),
        route(
            "GET",
            "/tenants/{tenant}/users",
            "All users of a tenant",
            AtLeast(Admin),
            get(users::list),
        ),
        route(
            "POST",
            "/tenants/{tenant}/users",
            "Add a user",
            AtLeast(Admin),
            post(users::add),
        ),
        route(
            "DELETE",
            "/tenants/{tenant}/users/{login}",
            "Remove a user",
            AtLeast(Admin),
            delete(users::remove),
        ),
        route(
            "PUT",
            "/tenants/{tenant}/users/{login}/password",
            "Set a web password",
            AtLeast(Admin),
            put(users::password),
        ),
        route(
            "POST",
            "/tenants/{tenant}/users/{login}/stream-password",
            "Make a new stream password",
            AtLeast(Admin),
            post(users::stream_password),
        ),
        route(
            "GET",
            "/tenants/{tenant}/audit",
            "Who did what, newest first, at most 1,000; ?from=, ?to=, ?camera= and ?user= choose",
            AtLeast(Admin),
            get(users::audit_log),
        ),
        route(
            "GET",
            "/strangers",
            "Who knocked and was refused",
            Local,
            get(operations::strangers),
        ),
        route(
            "GET",
            "/agent-releases",
            "Releases of the on-camera agent, and how far each is rolled out",
            Local,
            get(agent_releases::list),
        ),
        route(
            "POST",
            "/agent-releases",
            "Take a signed release",
            Local,
            post(agent_releases::add).layer(DefaultBodyLimit::max(agent_releases::LARGEST_BODY)),
        ),
        route(
            "PUT",
            "/agent-releases/{target}/{version}/roll-out",
            "Set how far a release goes: off, one camera, a share, all; goes on after a stop",
            Local,
            put(agent_releases::roll_out),
        ),
        route(
            "POST",
            "/alert/test",
            "Send a test alarm",
            Local,
            post(operations::alert_test),
        ),
        route(
            "GET",
            "/doctor",
            "Look for what is wrong",
            Local,
            get(operations::doctor),
        ),
        route(
            "PUT",
            "/log",
            "Change what is logged",
            Local,
            put(operations::log),
        ),
        route(
            "GET",
            "/backup",
            "What a backup holds, not encrypted",
            Local,
            get(operations::backup),
        ),
        route(
            "POST",
            "/backup/done",
            "A backup was written",
            Local,
            post(operations::backup_done),
        ),
    ]
}

/// The API's router.
pub fn router() -> Router<Site> {
    routes().into_iter().fold(Router::new(), |router, route| {
        router.route(route.path, route.handler)
    })
}

/// The OpenAPI document of the routes.
pub fn openapi() -> serde_json::Value {
    let mut paths = serde_json::Map::new();
    for route in routes() {
        let parameters: Vec<_> = route
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| serde_json::json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        let who = match route.who {
            Who::Anybody => "anybody".to_owned(),
            Who::AtLeast(role) => format!("users of the tenant, role {role} or above"),
            Who::Local => {
                "the machine's operator, over the Unix socket in the data directory".to_owned()
            }
        };
        let operation = serde_json::json!({
            "summary": route.summary,
            "description": format!("For {who}."),
            "parameters": parameters,
            "responses": {
                "2XX": {"description": "Done"},
                "default": {"description": "A problem", "content": {"application/problem+json": {}}},
            },
        });
        let path = paths
            .entry(format!("/api/v1{}", route.path))
            .or_insert_with(|| serde_json::json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_lowercase(), operation);
        }
    }
    serde_json::json!({
        "openapi": "3.1.0",
        "info": {"title": "Moorline", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
    })
}
