//! What cannot be checked is reported as such: exit code 2 and a clear line, never a hang and never a pass.

#![allow(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use csi_proto::registration;
use csi_sanity::{
    Selection,
    config::Config,
    endpoint::Endpoint,
    reference::{Features, ReferenceDriver, server::Hooks},
    report::{Report, Status, junit},
    suite,
};
use support::start;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixListener,
    process::{Child, Command},
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http;

/// An executable of this package, which cargo puts next to the folder of the tests. (`CARGO_BIN_EXE_…` does not come
/// through the workspace's compiler wrapper: a shell drops variables with a dash in the name.)
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join(name)
}

async fn csi_sanity(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, stdout } = Command::new(program("csi-sanity"))
        .args(["--connect-timeout=300ms", "--call-deadline=500ms"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// Checks what is at a socket; it must end with code 2 and these words.
async fn cannot_run(socket: &Path, words: &[&str]) {
    let (code, text) = csi_sanity(&[&format!("--csi.endpoint=unix://{}", socket.display())]).await;
    assert_eq!(code, Some(2), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn no_address_is_a_clear_line() {
    let (code, text) = csi_sanity(&[]).await;
    assert_eq!(code, Some(2));
    assert!(text.contains("--csi.endpoint"), "{text}");
}

#[tokio::test]
async fn nothing_listening_is_named() {
    cannot_run(Path::new("/nonexistent/csi.sock"), &["/nonexistent/csi.sock", "nothing answers"]).await;
}

#[tokio::test]
async fn a_server_that_says_something_else_is_no_driver() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n").await;
            let mut sink = [0; 1024];
            while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        }
    });
    cannot_run(&socket, &["is not a CSI driver", "does not speak gRPC"]).await;
}

#[tokio::test]
async fn a_server_that_hangs_up_is_no_driver() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    // Whether the connection breaks while it is made or during the first call is a matter of luck.
    cannot_run(&socket, &[socket.to_str().unwrap()]).await;
}

#[tokio::test]
async fn a_server_that_never_answers_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    cannot_run(&socket, &["hangs", "GetPluginInfo", "500ms"]).await;
}

struct Registration;

#[tonic::async_trait]
impl registration::registration_server::Registration for Registration {
    async fn get_info(
        &self,
        _: tonic::Request<registration::InfoRequest>,
    ) -> Result<tonic::Response<registration::PluginInfo>, tonic::Status> {
        Ok(tonic::Response::new(registration::PluginInfo::default()))
    }

    async fn notify_registration_status(
        &self,
        _: tonic::Request<registration::RegistrationStatus>,
    ) -> Result<tonic::Response<registration::RegistrationStatusResponse>, tonic::Status> {
        Ok(tonic::Response::new(registration::RegistrationStatusResponse {}))
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_is_no_driver() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(registration::registration_server::RegistrationServer::new(Registration))
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
    cannot_run(&socket, &["is not a CSI driver", "csi.v1.Identity"]).await;
}

/// Speaks gRPC under CSI's name, but what it answers is no message.
#[derive(Clone)]
struct Garbage;

impl tonic::server::NamedService for Garbage {
    const NAME: &'static str = "csi.v1.Identity";
}

impl tower::Service<http::Request<tonic::body::Body>> for Garbage {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
        // One frame of one byte: a field of a wire type that doesn't exist.
        let frame = "\0\0\0\0\u{1}\u{7}".to_owned();
        let answer = http::Response::builder().header("content-type", "application/grpc");
        std::future::ready(Ok(answer.body(tonic::body::Body::new(frame)).unwrap()))
    }
}

#[tokio::test]
async fn a_driver_that_answers_garbage_cannot_be_checked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let incoming = UnixListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(Garbage).serve_with_incoming(incoming));
    cannot_run(&socket, &["is not a CSI driver", "GetPluginInfo"]).await;
}

#[tokio::test]
async fn wrong_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("parameters.yaml");
    std::fs::write(&file, "- this\n- is a list\n").unwrap();
    for flag in ["--csi.testvolumeparameters", "--csi.secrets", "--csi.testsnapshotparameters"] {
        let (code, text) = csi_sanity(&["--csi.endpoint=/tmp/x", &format!("{flag}={}", file.display())]).await;
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("parameters.yaml"), "{text}");
    }
}

#[tokio::test]
async fn an_empty_selection_is_no_pass() {
    let running = start(Features::all(), Hooks::default());
    let endpoint = running.config.endpoint.to_string();
    let (code, text) = csi_sanity(&[&format!("--csi.endpoint={endpoint}"), "--focus=no such check"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no check matches"), "{text}");
}

#[tokio::test]
async fn parallel_checks_need_directories() {
    let running = start(Features::all(), Hooks::default());
    let endpoint = format!("--csi.endpoint={}", running.config.endpoint);
    let (code, text) = csi_sanity(&[&endpoint, "--parallel=2", "--csi.mountdir="]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("without directories"), "{text}");
}

/// A driver in a process of its own.
async fn driver_process(socket: &Path) -> Child {
    let mut child = Command::new(program("csi-reference-driver"))
        .arg(format!("--endpoint=unix://{}", socket.display()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    assert!(line.starts_with("ready"), "{line}");
    child
}

/// Runs against a driver that gets a signal after check 12. An answer may take as long as a busy machine needs, but a driver that
/// was stopped lets every call wait to its end.
async fn signalled(signal: &str, parallel: usize) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("csi.sock");
    let child = driver_process(&socket).await;
    let mut config = Config::new(Endpoint::Unix(socket));
    config.mount_dir = Some(directory.path().join("mount"));
    config.staging_dir = Some(directory.path().join("staging"));
    config.call_deadline = if signal == "STOP" { Duration::from_secs(3) } else { Duration::from_secs(30) };
    config.parallel = parallel;
    let pid = child.id().unwrap().to_string();
    suite::run_with(&config, &CancellationToken::new(), |_, _, result| {
        if result.number == 12 {
            let kill = format!("kill -{signal} {pid}");
            assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        }
    })
    .await
    .unwrap()
}

fn says_that_it_stopped(report: &Report, word: &str) {
    assert_eq!(report.exit_code(), 2, "{report}");
    assert!(report.aborted.as_deref().is_some_and(|reason| reason.contains(word)), "{report}");
    let status = |number| report.checks.iter().find(|check| check.number == number).unwrap().status;
    assert_eq!(status(12), Status::Passed);
    assert_eq!(status(13), Status::Failed);
    assert_eq!(status(90), Status::NotRun);
    let text = report.to_string();
    assert!(text.contains("The run was not completed") && text.contains("not run"), "{text}");
    let junit = junit::document(report).unwrap();
    assert!(junit.contains(word) && junit.contains("type=\"not run\""), "{junit}");
}

#[tokio::test]
async fn a_driver_that_dies_ends_the_run_and_the_report_says_so() {
    says_that_it_stopped(&signalled("KILL", 1).await, "the driver is gone");
}

#[tokio::test]
async fn a_driver_that_stops_answering_ends_the_run_and_the_report_says_so() {
    says_that_it_stopped(&signalled("STOP", 1).await, "the driver hangs");
}

#[tokio::test]
async fn a_driver_that_dies_among_parallel_checks_ends_all_of_them() {
    let report = signalled("KILL", 3).await;
    assert_eq!(report.exit_code(), 2, "{report}");
    assert!(report.aborted.as_deref().is_some_and(|reason| reason.contains("the driver is gone")), "{report}");
    let go = csi_sanity::all_checks().iter().filter(|check| check.number() <= 99).count();
    assert_eq!(report.checks.len(), go, "every check has its line");
    let count = |status| report.checks.iter().filter(|check| check.status == status).count();
    assert!(count(Status::NotRun) > 0 && (1..=3).contains(&count(Status::Failed)), "{report}");
}

/// Longer than a call may take. The thread's other tasks go on elsewhere: the caller's clock may be among them, and would see the
/// answer before it sees that time is up.
fn hang() {
    tokio::task::block_in_place(|| std::thread::sleep(Duration::from_secs(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn one_slow_call_fails_its_check_and_the_run_goes_on() {
    let slow = Hooks {
        get_capacity: Some(Box::new(|driver, request| {
            hang();
            driver.get_capacity(request)
        })),
        ..Hooks::default()
    };
    let mut running = start(Features::all(), slow);
    running.config.call_deadline = Duration::from_secs(1);
    running.config.selection = Selection { numbers: vec![4, 5, 10], ..Selection::everything() };
    let report = suite::run(&running.config).await.unwrap();
    assert_eq!(report.failures(), [5].into(), "{report}");
    assert_eq!(report.exit_code(), 1);
    assert!(report.to_string().contains("no answer to GetCapacity within 1s"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_an_unanswered_call_may_have_made_is_listed() {
    let slow = Hooks {
        create_volume: Some(Box::new(|driver: &ReferenceDriver, request| {
            hang();
            driver.create_volume(request)
        })),
        ..Hooks::default()
    };
    let mut running = start(Features::all(), slow);
    running.config.call_deadline = Duration::from_secs(1);
    running.config.selection = Selection { numbers: vec![8], ..Selection::everything() };
    let report = suite::run(&running.config).await.unwrap();
    assert_eq!(report.leftovers, ["perhaps a volume named sanity"], "{report}");
}

#[tokio::test]
async fn what_could_not_be_removed_is_listed() {
    let mutant = csi_sanity::mutants::all().into_iter().find(|mutant| mutant.name == "delete-fails").unwrap();
    let mut running = start(Features::all(), mutant.hooks());
    running.config.selection = Selection { numbers: vec![12], ..Selection::everything() };
    let report = suite::run(&running.config).await.unwrap();
    assert_eq!(report.exit_code(), 1, "{report}");
    assert_eq!(report.leftovers, ["volume volume-00000001"]);
    assert!(report.to_string().contains("Left behind in the driver: volume volume-00000001"), "{report}");
}

#[tokio::test]
async fn an_interrupted_run_cleans_up() {
    let interrupt = CancellationToken::new();
    let deleted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (stop, count) = (interrupt.clone(), std::sync::Arc::clone(&deleted));
    let hooks = Hooks {
        create_volume: Some(Box::new(move |driver: &ReferenceDriver, request| {
            stop.cancel();
            driver.create_volume(request)
        })),
        delete_volume: Some(Box::new(move |driver: &ReferenceDriver, request| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            driver.delete_volume(request)
        })),
        ..Hooks::default()
    };
    let running = start(Features::all(), hooks);
    let report = suite::run_with(&running.config, &interrupt, |_, _, _| {}).await.unwrap();
    assert_eq!(report.exit_code(), 2, "{report}");
    assert!(report.aborted.as_deref().is_some_and(|reason| reason.contains("interrupted")), "{report}");
    assert!(report.leftovers.is_empty(), "{report}");
    assert_eq!(deleted.load(std::sync::atomic::Ordering::SeqCst), 1, "the volume made last was not deleted");
}

#[tokio::test]
async fn a_left_over_target_directory_is_named() {
    let mut running = start(Features::all(), Hooks::default());
    let mount = running.config.mount_dir.clone().unwrap();
    std::fs::create_dir_all(mount.join("target")).unwrap();
    running.config.selection = Selection { numbers: vec![1], ..Selection::everything() };
    let report = suite::run(&running.config).await.unwrap();
    assert_eq!(report.exit_code(), 1);
    let text = report.to_string();
    assert!(text.contains(mount.to_str().unwrap()) && text.contains("target"), "{text}");
}
