//! What a client may put in `model`: routes, targets, `[aliases]`, and bare model names. No name means two things.

use std::collections::BTreeMap;

use crate::config::reader::{Field, Refusal, Table, did_you_mean};
use crate::config::values::text;
use crate::config::{Name, Route, RouteId, Target, TargetId};

/// Reads `[aliases]`, and gathers all names.
pub(super) fn read(root: &mut Table<'_>, routes: &[Route], targets: &[Target]) -> BTreeMap<String, Name> {
    let route_names = routes.iter().enumerate().map(|(id, route)| (route.name.clone(), Name::Route(RouteId(id))));
    let target_names = targets.iter().enumerate().map(|(id, target)| (target.name.clone(), Name::Target(TargetId(id))));
    // Names of targets have a slash, and those of routes have none.
    let real: BTreeMap<String, Name> = route_names.chain(target_names).collect();
    let mut names = real.clone();
    for (alias, field) in root.named("aliases") {
        check_printable(&field, alias);
        if real.contains_key(alias) {
            field.refuse_key("this is the name of a route or a model already", "Choose another alias.");
        }
        names.extend(field.read(|field| aliased(field, &real)).map(|name| (alias.to_owned(), name)));
    }
    add_bare_names(&mut names, targets);
    names
}

/// Refuses a name of a vendor, a route or a client that would not survive in a header or in `vendor/model`.
pub(super) fn check_name(field: &Field<'_>, name: &str) {
    check_printable(field, name);
    if name.contains('/') {
        field.refuse_key("a slash is what names of models have", "Choose a name without one.");
    }
}

/// Refuses a name that would not survive in a header.
pub(super) fn check_printable(field: &Field<'_>, name: &str) {
    const LENGTH_MAX: usize = 200;
    if name.is_empty() || name.len() > LENGTH_MAX || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = format!("a name has 1 to {LENGTH_MAX} characters of ASCII and no spaces");
        field.refuse_key(problem, "Choose another name.");
    }
}

fn aliased(field: &Field<'_>, real: &BTreeMap<String, Name>) -> Result<Name, Refusal> {
    let name = text(field)?;
    real.get(name).copied().ok_or_else(|| {
        let known: Vec<&str> = real.keys().map(String::as_str).collect();
        Refusal::new(format!("there is no route or model `{name}`"), did_you_mean(name, &known))
    })
}

/// Adds the part after the vendor, where only one target has it and nothing else is called that.
fn add_bare_names(names: &mut BTreeMap<String, Name>, targets: &[Target]) {
    let mut bare: BTreeMap<&str, Vec<TargetId>> = BTreeMap::new();
    for (id, target) in targets.iter().enumerate() {
        if let Some((_, model)) = target.name.split_once('/') {
            bare.entry(model).or_default().push(TargetId(id));
        }
    }
    for (model, ids) in bare {
        if let [only] = ids[..] {
            names.entry(model.to_owned()).or_insert(Name::Target(only));
        }
    }
}
