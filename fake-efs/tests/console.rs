//! The console in a headless Chromium: what it shows, and that everybody can use it.
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

#[path = "console/accessibility.rs"]
mod accessibility;
#[path = "console/browser.rs"]
mod browser;
#[path = "wire/client.rs"]
#[allow(dead_code, reason = "this target uses a part")]
mod wire;

use aws_sdk_efs::Client;
use aws_sdk_efs::config::retry::RetryConfig;
use aws_sdk_efs::config::{BehaviorVersion, Credentials, Region};
use browser::Browser;
use fake_efs::store::{NewBody, NewNode};
use fake_efs::world::ids::FileSystemId;
use fake_efs::{FakeEfs, Instance};
use serde_json::json;
use wire::Wire;

/// A file system with an access point, a directory and names that want to be more than names.
struct Scene {
    fake: Instance,
    efs: Client,
    file_system: String,
    access_point: String,
}

/// Names of files that a page must show as they are.
const HOSTILE: [&str; 4] = [
    "<img src=x onerror=\"window.hacked=1\">",
    "\" autofocus onfocus=\"window.hacked=1",
    "</a></td><script>window.hacked=1</script>",
    "a\u{202e}gpj.exe",
];

impl Scene {
    async fn new() -> Self {
        let fake = FakeEfs::builder().start().await.expect("free ports on loopback");
        let efs = client(fake.http_url());
        let made = efs.create_file_system().send().await.expect("it takes a file system");
        let file_system = made.file_system_id().to_owned();
        let point = efs.create_access_point().file_system_id(&file_system).send().await.expect("and an access point");
        let access_point = point.access_point_id().expect("with an id").to_owned();
        let id = FileSystemId::parse(&file_system).expect("an id");
        let store = fake.world().files(&id).expect("files");
        let node = |body| NewNode { body, mode: 0o2750, uid: 1000, gid: 1001 };
        let make = |parent, name: &[u8], body| store.create(parent, name, &node(body)).expect("free name").0.id;
        let directory = make(store.root(), b"dir & <b>", NewBody::Directory);
        for name in HOSTILE {
            make(directory, name.as_bytes(), NewBody::Regular { verifier: None });
        }
        make(directory, b"\xff\xfe", NewBody::Directory);
        make(directory, b"away", NewBody::Symlink { target: b"/etc/passwd".to_vec() });
        for n in 0..250 {
            make(store.root(), format!("file {n}").as_bytes(), NewBody::Fifo);
        }
        Self { fake, efs, file_system, access_point }
    }

    /// A client that has sent something.
    fn mount(&self) -> Wire {
        let address = self.fake.nfs_addr();
        tokio::task::block_in_place(|| {
            let mut wire = Wire::session(address, "console");
            for _ in 0..20 {
                assert_eq!(wire.run(&[wire::putrootfh(), wire::getattr(&[1])]).status, wire::OK);
            }
            wire
        })
    }

    fn url(&self, query: &str) -> String {
        format!("{}{query}", self.fake.http_url())
    }
}

fn client(url: String) -> Client {
    Client::from_conf(
        aws_sdk_efs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(url)
            .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .build(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_shows_what_happens_and_its_switches_work() {
    let Some(browser) = Browser::start().await else { return };
    let fake = FakeEfs::builder().start().await.expect("free ports on loopback");
    let efs = client(fake.http_url());
    browser.open(&fake.http_url()).await;
    browser.until("the empty page", "return document.querySelector('#access-points .none') !== null").await;

    let made = efs.create_file_system().send().await.expect("it takes a file system");
    let point =
        efs.create_access_point().file_system_id(made.file_system_id()).send().await.expect("and an access point");
    let id = point.access_point_id().expect("with an id");
    let shown = format!("return document.getElementById('access-points').innerText.includes('{id}')");
    browser.until("the access point's row", &shown).await;
    browser.screenshot("access-point").await;

    browser
        .run(
            "const form = document.getElementById('new-fault');
             form.elements.operation.value = 'CreateAccessPoint';
             form.querySelector('button').click();",
        )
        .await;
    browser.until("the rule's switch", "return document.querySelector('[data-rule]')?.checked === true").await;
    let throttled = efs.create_access_point().file_system_id(made.file_system_id()).send().await;
    assert!(throttled.expect_err("a throttle").into_service_error().is_throttling_exception());
    let noted = "return document.getElementById('calls').innerText.includes('ThrottlingException')";
    browser.until("the throttled call's row", noted).await;
    browser.screenshot("throttled").await;

    browser.run("document.querySelector('[data-rule]').click()").await;
    browser.until("the switched off rule", "return document.querySelector('[data-rule]')?.checked === false").await;
    efs.create_access_point().file_system_id(made.file_system_id()).send().await.expect("no throttle any more");
    browser.command("DELETE", "", &json!({})).await;
    fake.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_thing_leads_to_another() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::new().await;
    let other = scene.efs.create_file_system().creation_token("other").send().await.expect("a second file system");
    let other = other.file_system_id().to_owned();
    scene.efs.delete_file_system().file_system_id(&other).send().await.expect("the client below needs the only one");
    let _mount = scene.mount();
    let Scene { file_system, access_point, .. } = &scene;
    browser.open(&scene.url("/")).await;
    let click = async |section: &str, text: &str| {
        let script = format!(
            "const link = [...document.querySelectorAll('#{section} a')].find(a => a.textContent === '{text}');
             if (link) link.click(); return Boolean(link);"
        );
        assert_eq!(browser.run(&script).await, json!(true), "{text} in {section} is a link");
    };
    let shows = async |section: &str, text: &str| {
        let script = format!("return Boolean(document.getElementById('{section}')?.innerText.includes('{text}'))");
        browser.until(&format!("{text} in {section}"), &script).await;
    };
    click("file-systems", file_system).await;
    shows("access-points", access_point).await;
    shows("connections", "anonymous").await;
    shows("graphs", "calls a second").await;
    shows("graphs", "connection 1").await;
    let hides = format!("return !document.getElementById('file-systems').innerText.includes('{other}')");
    browser.until("one file system only", &hides).await;
    let about = format!(
        "const rows = [...document.querySelectorAll('#calls tbody tr')].map(row => row.innerText);
         return rows.length === 3 && rows.filter(row => row.includes('{file_system}')).length === 2
             && rows.filter(row => row.includes('CreateFileSystem')).length === 1;"
    );
    browser.until("its calls only", &about).await;
    browser.screenshot("file-system").await;
    click("connections", "1").await;
    shows("requests", "SEQUENCE PUTROOTFH GETATTR").await;
    shows("calls", "Connect").await;
    browser.screenshot("connection").await;
    click("connections", file_system).await;
    click("access-points", access_point).await;
    shows("calls", "CreateAccessPoint").await;
    let moved = browser.run("return document.querySelectorAll('svg polyline').length").await;
    assert_eq!(moved, json!(0), "nobody has used the access point");

    // The filter is a form that works without a script.
    browser.open(&scene.url("/?service=efs&outcome=errors")).await;
    shows("calls", "none").await;
    browser.open(&scene.url("/?text=DeleteFileSystem")).await;
    shows("calls", &other).await;
    browser.open(&scene.url("/?connection=x")).await;
    shows("problem", "x is no connection").await;
    browser.command("DELETE", "", &json!({})).await;
    scene.fake.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_shown_with_owner_and_mode_and_their_names_are_only_names() {
    let Some(browser) = Browser::start().await else { return };
    let scene = Scene::new().await;
    let files = format!("/?file-system={}&directory=", scene.file_system);
    browser.open(&scene.url(&files)).await;
    let count = "return document.querySelectorAll('#files tbody tr').length";
    assert_eq!(browser.run(count).await, json!(200), "a page");
    browser.run("document.querySelector('#files .more a:last-child').click()").await;
    browser.until("the last page", "return document.querySelectorAll('#files tbody tr').length === 51").await;
    browser.run("document.querySelector('#files .more a').click()").await;
    browser.until("the first page", "return document.querySelectorAll('#files tbody tr').length === 200").await;
    browser.run("[...document.querySelectorAll('#files a')].find(a => a.textContent === 'dir & <b>/').click()").await;
    browser.until("the directory", "return document.querySelectorAll('#files tbody tr').length === 6").await;
    let text = browser.run("return document.getElementById('files').innerText").await.to_string();
    assert!(text.contains("-rwxr-s--- 2750") && text.contains("1000") && text.contains("1001"), "{text}");
    let shown = browser
        .run("return [...document.querySelectorAll('#files td:first-child')].map(cell => cell.textContent)")
        .await;
    for name in &HOSTILE[..3] {
        assert!(shown.as_array().unwrap().contains(&json!(name)), "{name} is not in {shown}");
    }
    assert!(!shown.to_string().contains('\u{202e}'), "{shown}");
    let hacked =
        "return window.hacked === undefined && !document.querySelector('#files img, #files script, #files [onfocus]')";
    assert_eq!(browser.run(hacked).await, json!(true), "{shown}");
    // A link is no way anywhere, and a directory whose name is no text is.
    let links = browser.run("return [...document.querySelectorAll('#files a')].map(a => a.textContent)").await;
    assert_eq!(links, json!(["\\xff\\xfe/"]));
    browser.run("document.querySelector('#files a').click()").await;
    browser.until("the empty directory", "return document.querySelector('#files .none') !== null").await;
    let above = browser.run("return [...document.querySelectorAll('#steps a')].map(a => a.textContent)").await;
    assert_eq!(above, json!([format!("{}:/", scene.file_system), "dir & <b>", "\\xff\\xfe"]));
    for outside in ["..", "%2e%2e/%2e%2e/etc", "dir%20%26%20%3Cb%3E/away", "dir%20%26%20%3Cb%3E/away/etc"] {
        browser.open(&scene.url(&format!("{files}{outside}"))).await;
        assert_eq!(browser.run(count).await, json!(0), "{outside}");
    }
    browser.command("DELETE", "", &json!({})).await;
    scene.fake.shutdown().await;
}
