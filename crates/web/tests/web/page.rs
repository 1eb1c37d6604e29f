//! The page in real Chromium: what people see, click and type.

mod steps;

use std::collections::BTreeSet;

use moorline_core::Cause;
use moorline_core::port::{CameraAdmin as _, Users as _};
use moorline_testkit::chromium::{Browser, key};
use serde_json::{Value, json};

use self::steps::{
    SOON, drawn, fits, mouse, moving, open, point, quiet, shows, sign_in, signed_in,
};
use crate::support::scene::{self, id};
use crate::support::server::PASSWORD;

const DOOR: &str = "?camera=home/front-door";

#[tokio::test]
async fn somebody_signs_in_and_sees_the_cameras() {
    let house = scene::house().await;
    let browser = Browser::start().await.unwrap();
    browser.open(&house.url()).await.unwrap();
    sign_in(&browser, "anna", "wrong password").await;
    browser.wait_for("[role=alert]", SOON).await.unwrap();
    assert_eq!(
        browser.text("[role=alert]").await.unwrap(),
        "Login or password is wrong"
    );
    sign_in(&browser, "anna", PASSWORD).await;
    browser.wait_for(".card", SOON).await.unwrap();
    let card = |name: &str| format!("[data-camera='home/{name}']");

    let door = browser.text(&card("front-door")).await.unwrap();
    for words in [
        "Live",
        "Front door",
        "Main street 5",
        "Up for 3 h",
        "1.9 Mbit/s",
        "H.264 640x360",
        "Stored until",
    ] {
        assert!(door.contains(words), "{words:?} in {door}");
    }
    let yard = browser.text(&card("yard")).await.unwrap();
    for words in [
        "Yard <b>& garden</b>",
        "No stream",
        "gives no stream",
        "set the camera's own login",
    ] {
        assert!(yard.contains(words), "{words:?} in {yard}");
    }
    let gate = browser.text(&card("gate")).await.unwrap();
    for words in [
        "Away",
        "No pictures since",
        "2 h 30 min",
        "the camera cannot be reached",
        "moorline camera pending",
        "no picture at the moment",
    ] {
        assert!(gate.contains(words), "{words:?} in {gate}");
    }
    let room = "Recordings use 189 GB of the 400 GB that they may; the disk has 211 GB free.";
    let all = browser.text(".wide").await.unwrap();
    assert!(all.contains(room), "{all}");
    assert!(!browser.has(&card("shop")).await.unwrap());
    assert!(
        !browser.has(".cards b").await.unwrap(),
        "a title became markup"
    );
    let poster = "const canvas = document.querySelector('canvas'); const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; \
        return new Set(data).size > 20;";
    browser.wait_for_script(poster, SOON).await.unwrap();

    // A camera that goes away is seen to within a few seconds.
    let mut away = scene::live_status("front-door");
    away.link = moorline_core::status::LinkStatus::Absent;
    house.cameras.tell(away);
    let script = "return document.querySelector(\"[data-camera='home/front-door'] .pill\").textContent === 'Away';";
    browser.wait_for_script(script, SOON).await.unwrap();
    quiet(&browser).await;

    // Somebody who is removed is led out.
    house.people.remove(&"anna".parse().unwrap()).await.unwrap();
    browser.wait_for("[name=login]", SOON).await.unwrap();
    assert_eq!(
        browser.text("[role=alert]").await.unwrap(),
        "You were signed out"
    );
}

#[tokio::test]
async fn a_camera_that_is_away_is_not_shown_as_live_and_one_that_is_not_recorded_misses_nothing() {
    let house = scene::house().await;
    let browser = signed_in(&house, "vera").await;
    let change = moorline_core::port::CameraChange {
        record: Some(moorline_core::camera::Record::Off),
        ..Default::default()
    };
    let mut off = scene::live_status("front-door");
    off.gaps = vec![(
        moorline_core::status::OpenGap {
            since: scene::now(),
            cause: Cause::Disabled,
        },
        None,
    )];
    house.cameras.set(&id("front-door"), change).await.unwrap();
    house.cameras.tell(off);
    let card = "return document.querySelector(\"[data-camera='home/front-door']\").textContent";
    let script = format!("{card}.includes('Not recorded');");
    browser.wait_for_script(&script, SOON).await.unwrap();
    let door = browser.text("[data-camera='home/front-door']").await;
    assert!(!door.unwrap().contains("No pictures"));

    // One whose first minute is not over.
    let mut new = scene::live_status("yard");
    new.recorded_until = None;
    house.cameras.tell(new);
    let script = "return document.querySelector(\"[data-camera='home/yard']\").textContent.includes('Recording, nothing stored yet');";
    browser.wait_for_script(script, SOON).await.unwrap();

    open(&browser, &house, "?camera=home/gate").await;
    let script =
        "return document.querySelector('.stage-state').textContent.includes('the camera is away')";
    browser.wait_for_script(script, SOON).await.unwrap();
    let hidden = "return document.querySelector('.badge').hidden";
    assert_eq!(browser.script(hidden).await.unwrap(), json!(true));
}

#[tokio::test]
async fn live_pictures_move_stay_near_now_and_come_back() {
    let house = scene::house().await;
    let browser = signed_in(&house, "vera").await;
    browser
        .click("[data-camera='home/front-door'] a")
        .await
        .unwrap();
    browser.wait_for(".stage", SOON).await.unwrap();
    moving(&browser).await;
    // By the browser's own clock, which is the server's, at one instant; where the machine held it up, it catches up.
    let near = "const behind = Date.now() - Date.parse(document.querySelector('.clock').dateTime); return behind >= -1500 && behind < 4000;";
    browser.wait_for_script(near, SOON).await.unwrap();
    assert_eq!(browser.text(".badge").await.unwrap(), "Live");
    quiet(&browser).await;

    // How long it is kept, and whether the disk is large enough for that: for three that send, and one that is away.
    let facts = browser.text(".facts").await.unwrap();
    assert!(facts.contains("14 days · 20.2 GB a day"), "{facts}");
    assert!(
        facts.contains("the disk holds 4 days of all cameras"),
        "{facts}"
    );
    assert!(browser.has(".facts .tight").await.unwrap(), "{facts}");

    // A picture that was left behind is caught up with.
    browser
        .script("const video = document.querySelector('video'); video.pause(); return null;")
        .await
        .unwrap();
    moving(&browser).await;

    house.relays.end(&id("front-door"));
    browser.wait_for(".stage-state", SOON).await.unwrap();
    let script =
        "return document.querySelector('.stage-state').textContent.includes('trying again');";
    browser.wait_for_script(script, SOON).await.unwrap();
    house.relays.start(&id("front-door"));
    moving(&browser).await;
    assert!(
        !browser
            .script("return !document.querySelector('.stage-state').hidden")
            .await
            .unwrap()
            .as_bool()
            .unwrap(),
        "it still says that it waits"
    );
}

/// What iPhones have in the place of a `MediaSource`, which no browser that runs here has: it is set on the video itself, and only where nothing can
/// be sent on to a television.
const MANAGED: &str = r"
    globalThis.ManagedMediaSource = class extends MediaSource {};
    const own = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'srcObject');
    Object.defineProperty(HTMLMediaElement.prototype, 'srcObject', {
        configurable: true,
        get() { return own.get.call(this); },
        set(source) {
            if (!(source instanceof ManagedMediaSource)) { own.set.call(this, source); return; }
            if (!this.disableRemotePlayback) throw new Error('it would never open');
            this.src = URL.createObjectURL(source);
            this.dataset.managed = true;
        },
    });";

#[tokio::test]
async fn pictures_move_where_the_browser_has_only_a_managed_media_source() {
    let house = scene::house().await;
    let browser = Browser::start().await.unwrap();
    let script = json!({ "source": MANAGED });
    browser
        .devtools("Page.addScriptToEvaluateOnNewDocument", script)
        .await
        .unwrap();
    browser.open(&house.url()).await.unwrap();
    sign_in(&browser, "vera", PASSWORD).await;
    browser.wait_for(".card", SOON).await.unwrap();
    open(&browser, &house, DOOR).await;
    moving(&browser).await;
    assert!(browser.has("video[data-managed]").await.unwrap());
    quiet(&browser).await;
}

#[tokio::test]
async fn a_click_into_the_day_plays_from_there_and_gaps_are_jumped_over() {
    let house = scene::house().await;
    let browser = signed_in(&house, "vera").await;
    // Who looks is two hours to the west of the camera, whose own clock counts.
    let west = json!({ "timezoneId": scene::zone_at(11) });
    browser
        .devtools("Emulation.setTimezoneOverride", west)
        .await
        .unwrap();
    open(&browser, &house, DOOR).await;
    drawn(&browser).await;
    for kind in ["away", "camera", "server"] {
        assert!(
            browser.has(&format!(".row.{kind}")).await.unwrap(),
            "{kind}"
        );
        assert!(browser.has(&format!(".legend .{kind}")).await.unwrap());
    }
    each_kind_has_its_colour(&browser).await;
    browser.click(".zoom button:nth-of-type(4)").await.unwrap();
    // The window is an hour around now: a fifth of it is 18 minutes ago, which is recorded.
    let (x, y, instant) = point(&browser, 0.2).await;
    let told = browser.text(".told").await.unwrap();
    assert!(told.ends_with("recorded"), "{told}");
    assert!(told.starts_with("12:") || told.starts_with("13:"), "{told}");
    mouse(&browser, "mousePressed", x, y).await;
    mouse(&browser, "mouseReleased", x, y).await;
    shows(&browser, instant - 200, instant + 6_000).await;
    assert_eq!(browser.text(".badge").await.unwrap(), "Recorded");
    moving(&browser).await;
    assert!(browser.url().await.unwrap().contains("&t=20"));

    // A link into the gap begins behind it, and says so.
    let inside = house.before(200);
    open(&browser, &house, &format!("{DOOR}&t={inside}")).await;
    browser.wait_for(".notice", SOON).await.unwrap();
    let notice = browser.text(".notice").await.unwrap();
    assert!(notice.ends_with("nothing was recorded there"), "{notice}");
    let resumed = house.before(70).as_millis();
    shows(&browser, resumed, resumed + 8_000).await;

    // A deep link, ten seconds before a gap of four minutes: time enough to be seen before it is jumped over.
    let before = house.before(320);
    open(&browser, &house, &format!("{DOOR}&t={before}")).await;
    let start = before.as_millis();
    shows(&browser, start - 200, start + 11_000).await;
    browser.wait_for(".notice", SOON).await.unwrap();
    let notice = browser.text(".notice").await.unwrap();
    assert!(notice.starts_with("Jumped over 4 min"), "{notice}");
    assert!(
        notice.ends_with("Moorline or its recorder was restarted"),
        "{notice}"
    );
    shows(&browser, start + 247_000, start + 267_000).await;
    moving(&browser).await;
    // What was jumped over left no hole on the video's own time line, on which the clock rests.
    let ranges = "const { buffered } = document.querySelector('video'); return [buffered.length, buffered.start(0)];";
    assert_eq!(browser.script(ranges).await.unwrap(), json!([1, 0]));
    quiet(&browser).await;

    // Back to live.
    browser.click(".go-live").await.unwrap();
    moving(&browser).await;
    assert_eq!(browser.text(".badge").await.unwrap(), "Live");
}

/// What a stretch is shows by its colour, which the legend has too.
async fn each_kind_has_its_colour(browser: &Browser) {
    let script = "const colour = (selector) => { const style = getComputedStyle(document.querySelector(selector)); return style.backgroundColor + style.backgroundImage; }; \
        return ['recorded', 'open', 'away', 'camera', 'purpose', 'server', 'expired'].map((kind) => [colour(`.row.${kind}`), colour(`.swatch.${kind}`)]);";
    let shown = browser.script(script).await.unwrap();
    let shown = shown.as_array().unwrap();
    let mut colours = BTreeSet::new();
    for pair in shown {
        assert_eq!(pair[0], pair[1], "the legend shows another");
        colours.insert(pair[0].to_string());
    }
    assert_eq!(colours.len(), shown.len(), "two look the same: {shown:?}");
}

#[tokio::test]
async fn a_gap_that_goes_on_is_drawn_and_told_up_to_now() {
    let house = scene::house().await;
    let browser = signed_in(&house, "vera").await;
    for (camera, kind, words) in [
        ("yard", "camera", "gives no stream ("),
        ("gate", "away", "cannot be reached ("),
    ] {
        open(&browser, &house, &format!("?camera=home/{camera}")).await;
        let script = format!(
            "const told = document.querySelector('.bar').getAttribute('aria-valuetext') ?? ''; \
             return Boolean(document.querySelector('.row.{kind}')) && told.includes('{words}') && told.includes(' to now, ');"
        );
        browser.wait_for_script(&script, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_that_stays_open_over_midnight_comes_into_the_new_day() {
    let house = scene::house().await;
    let browser = signed_in(&house, "vera").await;
    open(&browser, &house, DOOR).await;
    drawn(&browser).await;
    let day = "return [document.querySelector('[aria-label=Day]').value, document.querySelector('[aria-label=\"Day after\"]').disabled];";
    let before = browser.script(day).await.unwrap();
    assert_eq!(before[1], true, "there is no day after today");
    // The zone's day ends in eleven hours; the server's clock, as the page sees it, is put on by twelve.
    let later = "const real = window.fetch; window.fetch = async (...all) => { const answer = await real(...all); const headers = new Headers(answer.headers); \
        headers.set('date', new Date(Date.parse(headers.get('date')) + 12 * 3600e3).toUTCString()); \
        return new Response(answer.body, { status: answer.status, headers }); }; return null;";
    browser.script(later).await.unwrap();
    let gone_on = format!(
        "return document.querySelector('[aria-label=Day]').value > {};",
        before[0]
    );
    browser.wait_for_script(&gone_on, SOON).await.unwrap();
    let after = browser.script(day).await.unwrap();
    assert_eq!(after[1], true, "the new day is the last one");

    // Who looks at a day that is over stays there.
    browser.click("[aria-label='Day before']").await.unwrap();
    drawn(&browser).await;
    let back = browser.script(day).await.unwrap();
    assert_eq!((&back[0], &back[1]), (&before[0], &Value::Bool(false)));
}

#[tokio::test]
async fn everything_can_be_done_by_keyboard() {
    let house = scene::house().await;
    let browser = Browser::start().await.unwrap();
    browser.open(&house.url()).await.unwrap();
    browser.wait_for("[name=login]", SOON).await.unwrap();
    for keys in ["anna", key::TAB, PASSWORD, key::ENTER] {
        browser.press(keys).await.unwrap();
    }
    browser.wait_for(".card", SOON).await.unwrap();
    let focused = "return document.activeElement.className + ' ' + document.activeElement.textContent + ' ' + (document.activeElement.getAttribute('aria-label') ?? '')";
    browser.press(key::TAB).await.unwrap();
    assert!(
        browser
            .script(focused)
            .await
            .unwrap()
            .as_str()
            .unwrap()
            .contains("Front door")
    );
    browser.press(key::ENTER).await.unwrap();
    drawn(&browser).await;
    // Tab by tab to the bar.
    let mut stops = 0;
    loop {
        let here = browser.script(focused).await.unwrap();
        if here.as_str().unwrap().starts_with("bar") {
            break;
        }
        assert!(stops < 30, "the bar is not reached");
        stops += 1;
        browser.press(key::TAB).await.unwrap();
    }
    let value = "return [Number(document.querySelector('.bar').getAttribute('aria-valuenow')), document.querySelector('.bar').getAttribute('aria-valuetext')];";
    let before = browser.script(value).await.unwrap();
    for _ in 0..25 {
        browser.press(key::LEFT).await.unwrap();
    }
    let after = browser.script(value).await.unwrap();
    let moved = before[0].as_i64().unwrap() - after[0].as_i64().unwrap();
    assert!((1_490_000..=1_510_000).contains(&moved), "{moved} ms");
    assert!(after[1].as_str().unwrap().ends_with("recorded"), "{after}");
    browser.press(key::ENTER).await.unwrap();
    let instant = after[0].as_i64().unwrap();
    shows(&browser, instant - 200, instant + 6_000).await;
    moving(&browser).await;
}

#[tokio::test]
async fn the_address_is_copied_with_its_password() {
    let house = scene::house().await;
    let browser = signed_in(&house, "anna").await;
    let permissions = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": house.url().trim_end_matches('/')});
    browser
        .devtools("Browser.grantPermissions", permissions)
        .await
        .unwrap();
    open(&browser, &house, DOOR).await;
    assert!(
        !browser
            .text(".address")
            .await
            .unwrap()
            .contains("stream-of")
    );
    for scheme in ["rtsp", "rtsps"] {
        browser
            .click(&format!("[data-copy={scheme}]"))
            .await
            .unwrap();
        let script = format!(
            "return document.querySelector('[data-copy={scheme}]').textContent === 'Copied';"
        );
        browser.wait_for_script(&script, SOON).await.unwrap();
        let copied = browser
            .script("return navigator.clipboard.readText()")
            .await
            .unwrap();
        let whole = format!("{scheme}://anna:stream-of-4@watch.example.com:8554/front-door");
        assert_eq!(copied, Value::String(whole));
    }
}

#[tokio::test]
async fn a_clip_that_is_saved_says_what_is_not_in_it() {
    let house = scene::house().await;
    let browser = signed_in(&house, "vera").await;
    let folder = moorline_testkit::temp_dir().unwrap();
    let allow = json!({"behavior": "allow", "downloadPath": folder.path()});
    browser
        .devtools("Browser.setDownloadBehavior", allow)
        .await
        .unwrap();
    browser.resize(320, 844).await.unwrap();
    *house.archive.unread.lock().unwrap() = vec![moorline_core::port::Unread {
        range: moorline_core::TimeRange::new(house.before(330), house.before(325)),
        key: "v1/one.mp4".to_owned(),
        why: "bytes are spoiled".to_owned(),
    }];
    // A minute of which the last third is a gap.
    let start = house.before(350);
    open(&browser, &house, &format!("{DOOR}&t={start}")).await;
    let at = start.as_millis();
    shows(&browser, at - 200, at + 30_000).await;
    browser.click(".clip button").await.unwrap();
    for words in [
        "since it was not recorded",
        "Moorline or its recorder was restarted",
        "since it cannot be read",
        "(5 s): bytes are spoiled",
    ] {
        let script =
            format!("return document.querySelector('.clip-told').textContent.includes('{words}');");
        browser.wait_for_script(&script, SOON).await.unwrap();
    }
    fits(&browser, 320).await;
    quiet(&browser).await;

    // Where nothing was recorded there is nothing to save.
    open(&browser, &house, "?camera=home/yard").await;
    browser.click(".clip button").await.unwrap();
    let script =
        "return document.querySelector('.clip-told').textContent === 'Nothing was recorded there';";
    browser.wait_for_script(script, SOON).await.unwrap();
}

#[tokio::test]
async fn a_phone_shows_all_of_it_without_scrolling_sideways() {
    let house = scene::house().await;
    let browser = Browser::start().await.unwrap();
    for width in [390, 320] {
        browser.resize(width, 844).await.unwrap();
        for dark in [false, true] {
            browser.prefer_dark(dark).await.unwrap();
            browser.open(&house.url()).await.unwrap();
            if browser.wait_for("[name=login], .card", SOON).await.is_ok()
                && browser.has("[name=login]").await.unwrap()
            {
                fits(&browser, width).await;
                sign_in(&browser, "vera", PASSWORD).await;
            }
            browser.wait_for(".card", SOON).await.unwrap();
            fits(&browser, width).await;
            open(&browser, &house, DOOR).await;
            drawn(&browser).await;
            browser.click("summary").await.unwrap();
            fits(&browser, width).await;
            let background = browser
                .script("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
                .await
                .unwrap();
            assert_eq!(background[0].as_i64().unwrap() < 128, dark, "{background}");
        }
    }
}

#[tokio::test]
async fn days_with_a_clock_change_have_their_own_length() {
    let house = scene::house().await;
    let browser = Browser::start().await.unwrap();
    browser.open(&house.url()).await.unwrap();
    for (zone, day, hours) in [
        ("Europe/Berlin", "2026-03-29", 23.0),
        ("Europe/Berlin", "2026-10-25", 25.0),
        ("Europe/Berlin", "2026-06-01", 24.0),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Asia/Kathmandu", "2026-01-01", 24.0),
        ("Mars/Base", "2026-01-01", 24.0),
        // Clocks go forward at midnight: there is no 00:00.
        ("America/Santiago", "2026-09-06", 23.0),
        ("America/Santiago", "2026-09-05", 24.0),
        ("America/Havana", "2026-03-08", 23.0),
        ("Atlantic/Azores", "2026-03-29", 23.0),
    ] {
        let script = format!(
            "return import('/page/format.js').then(({{ Zone }}) => {{ const zone = new Zone('{zone}'); const from = zone.dayStart('{day}'); \
             const to = zone.dayStart(Zone.shift('{day}', 1)); return [(to - from) / 3600e3, zone.date(from), zone.time(from), zone.date(to - 1)]; }})"
        );
        let told = browser.script(&script).await.unwrap();
        assert_eq!(told[0].as_f64(), Some(hours), "{zone} {day}");
        assert_eq!(told[1], day);
        let forward_at_midnight = hours < 24.0 && zone.starts_with('A') && hours == hours.floor();
        let first = ["00:00:00", "01:00:00"][usize::from(forward_at_midnight)];
        assert_eq!(told[2], first, "{zone}");
        assert_eq!(told[3], day, "{zone}");
    }
}

#[test]
fn the_page_says_of_each_cause_what_the_server_says() {
    let words = include_str!("../../page/words.js");
    for cause in Cause::ALL {
        let line = words
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{cause}: [")))
            .unwrap_or_else(|| panic!("{cause} has no words"));
        assert!(
            line.contains(&format!("\"{}\"", cause.explanation())),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_camera_of_the_stock_is_claimed_by_who_scans_the_code_and_gets_a_name() {
    let house = scene::house().await;
    for name in ["yard", "gate"] {
        house
            .tokens
            .stock
            .lock()
            .unwrap()
            .push(moorline_core::port::Stocked {
                camera: id(name),
                enrolled: house.before(60),
            });
    }
    let browser = Browser::start().await.unwrap();
    browser
        .open(&format!("{}?claim=home/ya", house.url()))
        .await
        .unwrap();
    // Whoever is not signed in sees nothing.
    sign_in(&browser, "anna", PASSWORD).await;
    let card = "[data-camera='home/yard']";
    browser.wait_for(card, SOON).await.unwrap();
    assert!(
        !browser.has("[data-camera='home/gate']").await.unwrap(),
        "another batch"
    );
    browser
        .type_into(&format!("{card} [name=title]"), "Goats <b>")
        .await
        .unwrap();
    browser
        .type_into(&format!("{card} [name=site]"), "Shed")
        .await
        .unwrap();
    browser.click(&format!("{card} button")).await.unwrap();
    browser
        .wait_for_script(
            "return document.querySelector('.card-body')?.textContent === 'Goats <b> is yours.';",
            SOON,
        )
        .await
        .unwrap();
    let cameras = moorline_core::port::CameraDirectory::snapshot(&*house.cameras);
    let camera = cameras.get(&id("yard")).unwrap();
    assert_eq!(
        (camera.title.as_str(), camera.site.as_deref()),
        ("Goats <b>", Some("Shed"))
    );
    assert_eq!(house.tokens.stock.lock().unwrap().len(), 1);
}
