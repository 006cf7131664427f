//! `man`: a manual page of each verb, for whoever packs the program.

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;

use crate::cli;
use crate::exit::Failure;
use crate::ui::Ui;

/// Where the pages go.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// A folder; it is made when it is missing
    dir: PathBuf,
}

pub(crate) fn run(args: ManArgs, ui: &Ui) -> Result<(), Failure> {
    host::fs::create_dir_all(&args.dir, 0o755)?;
    for (name, page) in pages(cli::command())? {
        let path = args.dir.join(name);
        host::fs::write(&path, &page, 0o644)?;
        ui.data(path.display().to_string());
    }
    Ok(())
}

/// Every page, with the name of its file: the program's, then its verbs'.
fn pages(command: Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    // The program's own page says what `help` does.
    let mut command = command.disable_help_subcommand(true);
    // Gives each subcommand its full name and the arguments that it inherits.
    command.build();
    let mut pages = Vec::new();
    describe(command, &mut pages)?;
    Ok(pages)
}

fn describe(command: Command, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let typed: Vec<_> = command.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
    let man = Man::new(command).source(concat!("kubestrap ", env!("CARGO_PKG_VERSION"))).manual("kubestrap");
    let mut page = Vec::new();
    man.render(&mut page)?;
    pages.push((man.get_filename(), page));
    typed.into_iter().try_for_each(|subcommand| describe(subcommand, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_that_people_type_has_a_page() {
        let pages = pages(cli::command()).unwrap();
        let page = |name: &str| {
            let page = pages.iter().find(|(file, _)| file == name);
            page.map(|(_, page)| String::from_utf8(page.clone()).unwrap())
        };
        let program = page("kubestrap.1").unwrap();
        assert!(program.contains("kubestrap\\-sandbox(1)"), "{program}");
        assert!(!program.contains("supply"), "hidden verbs are not the users': {program}");
        let create = page("kubestrap-sandbox-create.1").unwrap();
        assert!(create.contains("\\-\\-quiet"), "what it inherits is there: {create}");
        assert_eq!(page("kubestrap-sandbox-supply.1"), None);
    }
}
