//! A headless Chromium, driven over the WebDriver protocol.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the page may take for what should be there at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one window.
pub(crate) struct Browser {
    driver: Child,
    address: String,
    session: String,
}

impl Browser {
    /// Starts chromedriver and a browser; `None`, with a reason, if there is none on this machine.
    pub(crate) async fn start() -> Option<Self> {
        let mut command = Command::new("chromedriver");
        let driver = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                let reason = format!("chromedriver (Debian package chromium-driver) can't be run: {error}");
                assert!(std::env::var_os("REQUIRE_ALL").is_none(), "can't run: {reason}");
                println!("SKIP {reason}");
                return None;
            }
        };
        let lines = BufReader::new(driver.stdout.take().expect("asked for")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_suffix('.')?.rsplit_once("successfully on port ").map(|(_, p)| p.to_owned()))
            .expect("chromedriver says its port");
        let mut browser = Self { driver, address: format!("127.0.0.1:{port}"), session: String::new() };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000"];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let started = browser.call("POST", "/session", &wanted).await;
        browser.session = started["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {started}")).to_owned();
        Some(browser)
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(&self.address).await.expect("chromedriver listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.expect("chromedriver reads");
        let answer =
            tokio::time::timeout(PATIENCE, read_answer(&mut stream)).await.expect("chromedriver answers in time");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let mut value: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {answer}"));
        value["value"].take()
    }

    pub(crate) async fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body).await
    }

    pub(crate) async fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url })).await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// Waits until a script answers true.
    pub(crate) async fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(script).await != json!(true) {
            let page = || self.run("return document.body.innerText");
            assert!(Instant::now() < deadline, "{what} did not happen:\n{}", page().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Tells the browser to pretend: dark colours, another size.
    pub(crate) async fn pretend(&self, command: &str, parameters: Value) {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await;
    }

    /// Presses keys one after the other; WebDriver has numbers for those that are no letters.
    pub(crate) async fn press(&self, keys: &[char]) {
        let press = |key: &char| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions: Vec<Value> = keys.iter().flat_map(press).collect();
        self.command("POST", "/actions", &json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}))
            .await;
    }

    pub(crate) async fn screenshot(&self, name: &str) {
        let image = self.command("GET", "/screenshot", &json!({})).await;
        let image = base64::engine::general_purpose::STANDARD.decode(image.as_str().expect("base64")).expect("base64");
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
        std::fs::create_dir_all(&folder).expect("the target folder can be written");
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, image).expect("the target folder can be written");
        println!("screenshot {}", path.display());
    }
}

/// Reads one answer. Chromedriver keeps the connection open, whatever it is told.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        assert!(stream.read_buf(&mut answer).await.expect("chromedriver answers") > 0, "the answer is not whole");
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return text.into_owned();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
