//! `tidegate ledger`: what was spent and used, from a running gateway or from its database file.

use std::path::PathBuf;

use tidegate_core::config::StoreKind;
use tidegate_core::ledger::{About, Query};

use crate::cli::LedgerTerms;
use crate::review::{ask_gateway, query_of};
use crate::setup;
use crate::store::Store;
use crate::store::ledger::ask;

/// What the ledger says, in the form that was asked for.
pub(crate) async fn report(terms: &LedgerTerms, config: Option<PathBuf>) -> Result<String, String> {
    let about = if terms.lines { About::Lines } else { About::Sums };
    let asked = asked(terms);
    if let Some(file) = file(terms, config)? {
        let query = Query::read(about, &asked, String::new()).map_err(|error| error.message)?;
        if !file.exists() {
            return Err(format!(
                "there is no {}: nothing has been written there yet, or it is another file",
                file.display()
            ));
        }
        let reader = Store::open_to_read(&file).map_err(|error| error.to_string())?;
        let rows = ask(&reader, query.statement()).map_err(|error| format!("{}: {error}", file.display()))?;
        let page = query.page(&rows).map_err(|error| error.message)?;
        return Ok(String::from_utf8_lossy(&page.body).into_owned());
    }
    let path: &[&str] = if terms.lines { &["admin", "ledger", "lines"] } else { &["admin", "ledger"] };
    let url = terms.url.as_deref().unwrap_or(URL_DEFAULT);
    let body = ask_gateway(url, path, &asked).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Where a gateway is when nobody says.
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// The question, as a URL asks it.
fn asked(terms: &LedgerTerms) -> String {
    let format = if terms.csv {
        "csv"
    } else if terms.json {
        "json"
    } else {
        "text"
    };
    let by = (!terms.lines).then_some(terms.by.as_str());
    let pairs = [
        ("by", by),
        ("from", terms.from.as_deref()),
        ("to", terms.to.as_deref()),
        ("client", terms.client.as_deref()),
        ("model", terms.model.as_deref()),
        ("route", terms.route.as_deref()),
        ("limit", terms.limit.as_deref()),
        ("before", terms.before.as_deref()),
        ("format", Some(format)),
    ];
    query_of(&pairs)
}

/// The database file, unless a running gateway is to be asked.
fn file(terms: &LedgerTerms, config: Option<PathBuf>) -> Result<Option<PathBuf>, String> {
    if terms.file.is_some() || terms.url.is_some() {
        return Ok(terms.file.clone());
    }
    let Some(file) = config else { return Ok(None) };
    match setup::without_keys(&file)?.0.store {
        Some(store) if store.kind == StoreKind::Sqlite => Ok(Some(store.path.into())),
        _ => {
            Err(format!("{} has no [store] with kind = \"sqlite\": ask the running gateway with --url", file.display()))
        }
    }
}
