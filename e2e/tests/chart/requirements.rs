//! `docs/requirements` lists what others demand of us, a file for each subject, and `docs/requirements.md` is made of it.

use crate::lists::{List, is_made, names, row};

const PLACE: &str = "docs/requirements";
const PAGE: &str = "docs/requirements.md";

/// The page, made of the lists.
fn page(list: &List) -> String {
    let mut page = String::from(
        "# Requirements\n\nWhat others demand of the driver and of the fake, where it is met, and which test is there for it. Made of\n\
         the files in `docs/requirements` by `e2e/tests/chart/requirements.rs`; edit those, and run\n\
         `INSTA_UPDATE=always just chart requirements`. A test is named by its file and function, a check of csi-sanity by its title.\n\n\
         That each name exists is checked. The entries of NFS, EFS and S3 Files were mostly listed by the names of\n\
         tests, and whether each test would fail is still to be seen.\n\n\
         | source | requirements | with a test | without a test | not met, or not ours |\n|---|---|---|---|---|\n",
    );
    for source in &list.sources {
        let all = list.of(source).count().to_string();
        let tested = list.of(source).filter(|it| !it.tests.is_empty()).count().to_string();
        let missing = list.of(source).filter(|it| it.missing.is_some()).count().to_string();
        let not_met = list.of(source).filter(|it| it.not_met.is_some()).count().to_string();
        page += &row(&[&source.title, &all, &tested, &missing, &not_met]);
    }
    for source in &list.sources {
        page += &format!("\n## {}\n\n{}", source.title, source.text);
        page += "| id | section | demand | met by | tests |\n|---|---|---|---|---|\n";
        for it in list.of(source) {
            let met = if it.code.is_empty() { "–".to_owned() } else { names(&it.code) };
            page += &row(&[&it.id, &it.section, &it.demand, &met, &it.proof()]);
        }
    }
    page
}

#[test]
fn every_requirement_names_code_and_tests_that_exist_or_says_why_not() {
    let list = List::read(PLACE);
    assert!(list.requirements.len() > 200, "only {} requirements", list.requirements.len());
    let wrong = list.problems();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_page_of_requirements_is_made_of_the_lists() {
    is_made(PAGE, &page(&List::read(PLACE)));
}
