//! Whether everybody can use the console: axe's rules in light and dark, narrow windows, the keyboard.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Scene;
use super::browser::Browser;

/// The package on PyPI that carries axe-core, and the file in it.
const PACKAGE: &str = "axe-playwright-python==0.1.8";
const FILE: &str = "axe_playwright_python/axe.min.js";

/// axe-core, fetched once into the target folder; `None` if PyPI can't be reached.
fn axe() -> Option<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe-0.1.8");
    if let Ok(script) = std::fs::read_to_string(folder.join(FILE)) {
        return Some(script);
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--target"]);
    let why = match pip.arg(&folder).arg(PACKAGE).output() {
        Ok(output) if output.status.success() => {
            return Some(std::fs::read_to_string(folder.join(FILE)).expect("the package has the script"));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "can't run: {PACKAGE} can't be had: {why}");
    println!("SKIP {PACKAGE} can't be had: {}", why.lines().next_back().unwrap_or_default());
    None
}

/// What axe has to say about the page, in short.
async fn complaints(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe).await;
    browser
        .run(
            "window.found = null; axe.run(document, { resultTypes: ['violations'] }).then(r => { window.found = r; });",
        )
        .await;
    browser.until("axe's verdict", "return window.found !== null").await;
    let short = "return window.found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join(' | '))";
    let passes = browser.run("return window.found.passes.length").await;
    assert!(passes.as_u64().is_some_and(|rules| rules > 15), "axe looked at {passes} rules only");
    let found = browser.run(short).await;
    found.as_array().expect("a list").iter().map(Value::to_string).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn axe_finds_nothing_on_any_page_light_or_dark_wide_or_narrow() {
    let Some(browser) = Browser::start().await else { return };
    let Some(axe) = axe() else { return };
    let scene = Scene::new().await;
    let _mount = scene.mount();
    let Scene { file_system, access_point, .. } = &scene;
    let pages = [
        "/".to_owned(),
        format!("/?file-system={file_system}"),
        format!("/?file-system={file_system}&directory="),
        format!("/?file-system={file_system}&directory=dir%20%26%20%3Cb%3E"),
        format!("/?access-point={access_point}"),
        "/?connection=1".to_owned(),
        "/?connection=x".to_owned(),
    ];
    // A second, so that there is something in the graphs.
    browser.open(&scene.url("/")).await;
    browser.until("a graph", "return document.querySelector('svg polyline') !== null").await;
    for (scheme, width) in [("light", 1400), ("dark", 1400), ("dark", 360)] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        browser.pretend("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let size = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        browser.pretend("Emulation.setDeviceMetricsOverride", size).await;
        for page in &pages {
            browser.open(&scene.url(page)).await;
            browser.run("for (const fold of document.querySelectorAll('details')) fold.open = true;").await;
            let found = complaints(&browser, &axe).await;
            assert!(found.is_empty(), "{page}, {scheme}, {width} wide:\n{}", found.join("\n"));
            let fits =
                browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
            assert_eq!(fits, json!(0), "{page} is wider than a window of {width}");
        }
        let ground = browser.run("return getComputedStyle(document.body).backgroundColor").await;
        assert_eq!(ground == json!("rgb(255, 255, 255)"), scheme == "light", "{ground} in {scheme}");
        browser.open(&scene.url(&pages[1])).await;
        browser.screenshot(&format!("{scheme}-{width}")).await;
    }
    // It does find something where there is something.
    browser.run("document.querySelector('#filter label').replaceWith(document.querySelector('#filter select'))").await;
    let found = complaints(&browser, &axe).await;
    assert!(found.iter().any(|complaint| complaint.contains("select-name")), "a box without a label: {found:?}");
    browser.command("DELETE", "", &json!({})).await;
    scene.fake.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_is_enough_and_keeps_its_place() {
    const TAB: char = '\u{e004}';
    const ENTER: char = '\u{e007}';
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::new().await;
    browser.open(&scene.url("/")).await;
    browser.press(&[TAB]).await;
    assert_eq!(browser.run("return document.activeElement.className").await, json!("skip"));
    browser.press(&[ENTER]).await;
    browser.until("the contents", "return document.activeElement.id === 'main'").await;

    // Everything that can be clicked is reached by the keyboard, in the order of the page.
    browser.open(&scene.url("/")).await;
    browser.run("for (const fold of document.querySelectorAll('details')) fold.open = true;").await;
    let all = "window.order = [...document.querySelectorAll('a, button, input, select, summary, .scroll')]; return window.order.length";
    let count = browser.run(all).await.as_u64().expect("a number");
    for at in 0..count.min(40) {
        browser.press(&[TAB]).await;
        let reached = browser.run("return window.order.indexOf(document.activeElement)").await;
        assert_eq!(reached, json!(at), "of {count}");
    }

    // A preset, its announcement, and its rule.
    browser
        .run(
            "[...document.querySelectorAll('.presets button')].find(b => b.textContent.startsWith('Throttle')).focus()",
        )
        .await;
    browser.press(&[ENTER]).await;
    browser.until("what was done", "return document.getElementById('status').textContent.startsWith('Throttle')").await;
    browser.until("the rule", "return document.querySelector('[data-rule]')?.checked === true").await;
    assert_eq!(scene.fake.faults().list().len(), 1);
    let refused = scene.efs.describe_file_systems().send().await.expect_err("a throttle").into_service_error();
    assert!(refused.meta().code() == Some("ThrottlingException"), "{refused:?}");

    // What changes under the keyboard leaves it where it is.
    let row = format!("#access-points a[href$=\"{}\"]", scene.access_point.replace('-', "%2D"));
    browser.run(&format!("document.querySelector('{row}').focus()")).await;
    scene.fake.faults().clear();
    let made = scene.efs.create_access_point().file_system_id(&scene.file_system).client_token("next").send().await;
    let made = made.expect("another one");
    let next = made.access_point_id().expect("with an id");
    let shown = format!("return document.getElementById('access-points').innerText.includes('{next}')");
    browser.until("the new row", &shown).await;
    let kept = format!("return document.activeElement === document.querySelector('{row}')");
    browser.until("the old place", &kept).await;
    browser.command("DELETE", "", &json!({})).await;
    scene.fake.shutdown().await;
}
