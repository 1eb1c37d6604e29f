//! The page in real Chromium against the real server: sign in, see live pictures move, click into the recording, see pictures move.

use moorline_simcam::SourceConfig;
use moorline_testkit::chromium::Browser;

use crate::support::{Moorline, SOON, simulated_with};

/// What the video shows, as a number that another picture does not have.
const PICTURE: &str = "const canvas = document.createElement('canvas'); [canvas.width, canvas.height] = [64, 36]; \
    const context = canvas.getContext('2d'); context.drawImage(document.querySelector('video'), 0, 0, 64, 36); \
    return context.getImageData(0, 0, 64, 36).data.reduce((sum, byte, at) => (sum * 31 + byte * (at % 7 + 1)) % 1000000007, 1);";

/// Waits until the video runs under this badge and shows another picture than before: the clip has a running clock.
async fn moves(browser: &Browser, badge: &str) {
    let playing = format!(
        "const video = document.querySelector('video'); \
         return document.querySelector('.badge')?.textContent === '{badge}' && video.readyState >= 2 && !video.paused;"
    );
    browser.wait_for_script(&playing, SOON).await.unwrap();
    let before = browser.script(PICTURE).await.unwrap();
    let frames =
        "return document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames;";
    let seen = browser.script(frames).await.unwrap();
    let later = format!(
        "return document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames >= {seen} + 20;"
    );
    browser.wait_for_script(&later, SOON).await.unwrap();
    assert_ne!(
        browser.script(PICTURE).await.unwrap(),
        before,
        "{badge}: the same picture"
    );
}

/// A zone in which it is about one in the afternoon: a day that ends while the test runs is another day's bar.
fn midday() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let hour = now.unwrap().as_secs() / 3_600 % 24;
    // The sign of these names is that of POSIX: west is positive.
    format!("Etc/GMT{:+}", i64::try_from(hour).unwrap() - 13)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_watches_and_clicks_into_the_recording() {
    let moorline = Moorline::with_short_segments().await;
    let camera = simulated_with(&moorline, "front-door", SourceConfig::clip(1), |_| {});
    let _camera = camera.await;
    moorline
        .cli(&["camera", "set", "front-door", "--title", "Front door"])
        .await;
    moorline
        .cli(&["camera", "set", "front-door", "--timezone", &midday()])
        .await;
    moorline
        .until("front-door", "something durable", |view| {
            view["status"]["recorded_until"].is_string()
        })
        .await;

    let browser = Browser::start().await.unwrap();
    browser
        .open(moorline.ready()["page"].as_str().unwrap())
        .await
        .unwrap();
    browser.wait_for("[name=login]", SOON).await.unwrap();
    browser.type_into("[name=login]", "admin").await.unwrap();
    let password = moorline.first_user("password");
    browser
        .type_into("[name=password]", &password)
        .await
        .unwrap();
    browser.click("button[type=submit]").await.unwrap();

    let card = "[data-camera='home/front-door'] h2 a";
    browser.wait_for(card, SOON).await.unwrap();
    assert_eq!(browser.text(card).await.unwrap(), "Front door");
    browser.click(card).await.unwrap();
    moves(&browser, "Live").await;

    // The first of what the store holds.
    let wide = "return document.querySelector('.bar .row.recorded')?.offsetWidth >= 4;";
    browser.wait_for_script(wide, SOON).await.unwrap();
    browser.click(".bar .row.recorded").await.unwrap();
    moves(&browser, "Recorded").await;
    // Whether somebody has signed in is asked first, and answered by 401.
    let mut errors = browser.console_errors().await.unwrap();
    errors.retain(|error| !error.contains("/api/v1/me - Failed to load resource"));
    assert_eq!(errors, Vec::<String>::new());
}
