//! SQLite, whose safety rests on byte-range locks and on what is flushed when.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::scene::{Scene, Workload};

pub(crate) const WORKLOADS: &[Workload] =
    &[Workload { name: "sqlite_loses_no_transaction_of_two_clients", needs: &["python3"], work: sqlite }];

/// Adds rows and moves amounts between accounts: the sum of all accounts never changes.
const SCRIPT: &str = r#"
import sqlite3, sys
path, who, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(path, timeout=120, isolation_level=None)
db.execute("pragma synchronous=full")
for round in range(rounds):
    db.execute("begin immediate")
    db.execute("insert into entry values (?, ?)", (who, round))
    db.execute("update account set amount = amount - 1 where id = ?", (round % 10,))
    db.execute("update account set amount = amount + 1 where id = ?", ((round * 7 + 3) % 10,))
    db.execute("commit")
"#;

const PREPARE: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("create table entry (who text, round integer, primary key (who, round))")
db.execute("create table account (id integer primary key, amount integer)")
db.executemany("insert into account values (?, 1000)", [(n,) for n in range(10)])
db.commit()
"#;

const CHECK: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=120)
print(db.execute("pragma integrity_check").fetchone()[0],
      db.execute("select count(*) from entry").fetchone()[0],
      db.execute("select sum(amount) from account").fetchone()[0])
"#;

fn python(script: &str, database: &Path, arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(database).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting Python")
}

fn finished(child: Child) -> anyhow::Result<String> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "Python: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn sqlite(scene: &Scene) -> anyhow::Result<()> {
    let rounds = scene.size(20, 200).to_string();
    finished(python(PREPARE, &scene.one.at("database"), &[])?)?;
    let mut writers = Vec::new();
    for writer in 0..4 {
        let mount = if writer % 2 == 0 { &scene.one } else { &scene.two };
        writers.push(python(SCRIPT, &mount.at("database"), &[&format!("writer {writer}"), &rounds])?);
    }
    for writer in writers {
        finished(writer)?;
    }
    let expected = format!("ok {} 10000", 4 * scene.size(20, 200));
    for mount in [&scene.one, &scene.two] {
        let found = finished(python(CHECK, &mount.at("database"), &[])?)?;
        ensure!(found == expected, "expected \"{expected}\", found \"{found}\"");
    }
    Ok(())
}
