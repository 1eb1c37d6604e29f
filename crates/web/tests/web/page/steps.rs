//! What a person does in the page, and waits for.

use std::time::Duration;

use moorline_testkit::chromium::Browser;
use serde_json::{Value, json};

use crate::support::server::{House, PASSWORD};

/// A browser that decodes without help of a graphics card shares the cores with all other tests.
pub(super) const SOON: Duration = Duration::from_secs(30);
/// What the video shows, as a number that another picture does not have.
const PICTURE: &str = "const canvas = document.createElement('canvas'); [canvas.width, canvas.height] = [64, 36]; \
    const context = canvas.getContext('2d'); context.drawImage(document.querySelector('video'), 0, 0, 64, 36); \
    return context.getImageData(0, 0, 64, 36).data.reduce((sum, byte, at) => (sum * 31 + byte * (at % 7 + 1)) % 1000000007, 1);";

/// A browser in which somebody has signed in.
pub(super) async fn signed_in(house: &House, login: &str) -> Browser {
    let browser = Browser::start().await.unwrap();
    browser.open(&house.url()).await.unwrap();
    sign_in(&browser, login, PASSWORD).await;
    browser.wait_for(".card", SOON).await.unwrap();
    browser
}

pub(super) async fn sign_in(browser: &Browser, login: &str, password: &str) {
    browser.wait_for("[name=login]", SOON).await.unwrap();
    browser.type_into("[name=login]", login).await.unwrap();
    browser
        .type_into("[name=password]", password)
        .await
        .unwrap();
    browser.click("button[type=submit]").await.unwrap();
}

pub(super) async fn open(browser: &Browser, house: &House, query: &str) {
    browser
        .open(&format!("{}{query}", house.url()))
        .await
        .unwrap();
    browser.wait_for(".stage", SOON).await.unwrap();
}

/// Waits until the pictures move: the video's time goes on, more pictures were decoded, and what is to be seen is another.
pub(super) async fn moving(browser: &Browser) {
    let playing = "const video = document.querySelector('video'); return video.readyState >= 2 && !video.paused && video.currentTime > 0.2;";
    browser.wait_for_script(playing, SOON).await.unwrap();
    let look = "const video = document.querySelector('video'); return [video.currentTime, video.getVideoPlaybackQuality().totalVideoFrames];";
    let before = browser.script(look).await.unwrap();
    let picture = browser.script(PICTURE).await.unwrap();
    let later = format!(
        "const video = document.querySelector('video'); return video.currentTime > {} + 1 && video.getVideoPlaybackQuality().totalVideoFrames >= {} + 10;",
        before[0], before[1]
    );
    browser.wait_for_script(&later, SOON).await.unwrap();
    assert_ne!(
        browser.script(PICTURE).await.unwrap(),
        picture,
        "the picture stands still"
    );
}

/// Waits until the clock over the picture shows an instant in a stretch.
pub(super) async fn shows(browser: &Browser, from: i64, to: i64) {
    let script = format!(
        "const at = Date.parse(document.querySelector('.clock').dateTime); return at >= {from} && at <= {to} && document.querySelector('video').readyState >= 2;"
    );
    browser.wait_for_script(&script, SOON).await.unwrap();
}

/// Moves the mouse to a part of the bar and returns the instant there.
pub(super) async fn point(browser: &Browser, part: f64) -> (f64, f64, i64) {
    let script = format!(
        "const bar = document.querySelector('.bar'); bar.scrollIntoView({{block: 'center'}}); const box = bar.getBoundingClientRect(); \
         return [box.left + box.width * {part}, box.top + box.height / 2];"
    );
    let at = browser.script(&script).await.unwrap();
    let (x, y) = (at[0].as_f64().unwrap(), at[1].as_f64().unwrap());
    mouse(browser, "mouseMoved", x, y).await;
    let script = "return Number(document.querySelector('.bar').getAttribute('aria-valuenow'));";
    let instant = browser.script(script).await.unwrap();
    (x, y, instant.as_i64().unwrap())
}

pub(super) async fn mouse(browser: &Browser, kind: &str, x: f64, y: f64) {
    let buttons = i32::from(kind == "mousePressed");
    let event = json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1});
    browser
        .devtools("Input.dispatchMouseEvent", event)
        .await
        .unwrap();
}

/// Waits until the day's coverage is drawn.
pub(super) async fn drawn(browser: &Browser) {
    let script = "return Boolean(document.querySelector('.row.recorded'))";
    browser.wait_for_script(script, SOON).await.unwrap();
}

/// Nothing went wrong that nobody would see.
pub(super) async fn quiet(browser: &Browser) {
    let errors = browser.console_errors().await.unwrap();
    // That nobody is signed in, and that a password is wrong, is answered with 401.
    let others: Vec<_> = errors
        .iter()
        .filter(|line| !line.contains("status of 401"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[track_caller]
fn is_true(value: &Value, what: &str) {
    assert_eq!(*value, Value::Bool(true), "{what}");
}

/// The page is no wider than the window, and what is pressed is large enough for a thumb.
pub(super) async fn fits(browser: &Browser, width: u32) {
    let wide = browser
        .script("return [...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(element).position !== 'absolute').map((element) => element.tagName + '.' + element.className)")
        .await
        .unwrap();
    assert_eq!(wide, json!([]), "beyond {width}");
    let fits = browser
        .script("return document.documentElement.scrollWidth <= innerWidth")
        .await
        .unwrap();
    is_true(&fits, "it scrolls sideways");
    let small = browser
        .script("return [...document.querySelectorAll('button, select')].filter((element) => element.offsetHeight > 0 && element.offsetHeight < 30).map((element) => element.textContent)")
        .await
        .unwrap();
    assert_eq!(small, json!([]), "too small for a thumb");
}
