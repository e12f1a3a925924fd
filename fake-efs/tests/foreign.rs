//! Clients that others wrote, unmodified but for the endpoint: boto3 and the AWS CLI from PyPI, against the binary.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// Where the packages and the scripts are.
struct Python {
    site: PathBuf,
}

/// Installs the packages once, into the target folder; `None` if PyPI can't be reached.
fn python() -> Option<&'static Python> {
    static PYTHON: OnceLock<Option<Python>> = OnceLock::new();
    PYTHON.get_or_init(install).as_ref()
}

fn install() -> Option<Python> {
    let requirements = scripts().join("requirements.txt");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign");
    let (site, done) = (target.join("site"), target.join("installed"));
    std::fs::create_dir_all(&target).expect("the target folder can be written");
    // Two tests, two processes: the second waits for the first.
    let lock = std::fs::File::create(target.join("lock")).expect("the target folder can be written");
    lock.lock().expect("a lock on a file of our own");
    let wanted = std::fs::read(&requirements).expect("part of this repository");
    if std::fs::read(&done).is_ok_and(|found| found == wanted) {
        return Some(Python { site });
    }
    let _ = std::fs::remove_dir_all(&site);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--target"]);
    let output = pip.arg(&site).arg("--requirement").arg(&requirements).output();
    match output {
        Ok(output) if output.status.success() => {
            std::fs::write(&done, wanted).expect("the target folder can be written");
            Some(Python { site })
        }
        Ok(output) => skip(&format!("pip can't install boto3: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => skip(&format!("python3 can't be run: {error}")),
    }
}

/// Says why a test can't run; fails where all must.
fn skip<T>(reason: &str) -> Option<T> {
    let reason = reason.lines().next_back().unwrap_or_default();
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "can't run: {reason}");
    println!("SKIP {reason}");
    None
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

/// The binary, which cargo builds next to the tests. (Its variable for that has a hyphen in its name, which the shell of this
/// project's rustc wrapper drops.)
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps");
    folder.join("fake-efs")
}

/// The binary, running.
struct Fake {
    process: Child,
    url: String,
}

impl Fake {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["serve", "--http", "127.0.0.1:0", "--nfs", "127.0.0.1:0", "--region", "us-east-1"]);
        let mut process = command.args(arguments).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("asked for");
        BufReader::new(stdout).read_line(&mut line).expect("the binary prints");
        let ready = line.strip_prefix("ready ").unwrap_or_else(|| panic!("not a ready line: {line}"));
        let ready: serde_json::Value = serde_json::from_str(ready).expect("JSON");
        let url = ready["http"].as_str().expect("an address").to_owned();
        Self { process, url }
    }

    fn run(&self, python: &Python, script: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", &python.site)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        // Whatever the machine's own configuration says must not matter.
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        let output = command.arg(scripts().join(script)).arg(&self.url).args(arguments).output();
        let Output { status, stdout, stderr } = output.expect("python3 runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{script} ended with {status}\n{stdout}\n{stderr}");
        println!("{stdout}");
        stdout.into_owned()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn boto3_uses_every_operation_and_provokes_every_documented_error() {
    let Some(python) = python() else { return };
    let seed = scripts().join("network.yaml");
    let seeded = Fake::start(&["--seed-file", seed.to_str().expect("UTF-8")]);
    let stdout = Fake::start(&[]).run(python, "session.py", &[&seeded.url]);
    assert!(stdout.contains("31 operations, 149 documented errors (105 natural, 44 injected)"), "{stdout}");
}

#[test]
fn the_aws_cli_uses_every_operation() {
    let Some(python) = python() else { return };
    let stdout = Fake::start(&[]).run(python, "cli.py", &[]);
    assert!(stdout.contains("31 commands"), "{stdout}");
}

#[test]
fn boto3_and_its_transfer_manager_use_the_buckets() {
    let Some(python) = python() else { return };
    let stdout = Fake::start(&[]).run(python, "s3.py", &[]);
    assert!(stdout.contains("23 operations of S3"), "{stdout}");
}

#[test]
fn the_aws_cli_s_commands_for_s3_use_the_buckets() {
    let Some(python) = python() else { return };
    let stdout = Fake::start(&[]).run(python, "s3cli.py", &[]);
    assert!(stdout.contains("20 commands"), "{stdout}");
}

#[test]
fn boto3_finds_its_credentials_in_all_five_places() {
    let Some(python) = python() else { return };
    let seed = scripts().join("identities.yaml");
    let fake = Fake::start(&["--strict-signatures", "--seed-file", seed.to_str().expect("UTF-8")]);
    let stdout = fake.run(python, "credentials.py", &[]);
    assert!(stdout.contains("5 sources"), "{stdout}");
}
