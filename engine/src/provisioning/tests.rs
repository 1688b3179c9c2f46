use serde_json::{Value, json};

use super::*;
use crate::store::Clock;

const BASE: &str = r#"
    [[customer]]
    id = 12
    account = "north"
    [[user]]
    name = "1001"
    password = "secret"
    [[gateway]]
    id = 7
    address = "sip:sbc.example.net"
    [[route]]
    prefix = "44"
    gateways = [7]
    [[account]]
    name = "north"
"#;

fn provisioning() -> Provisioning {
    let config: Config = toml::from_str(BASE).unwrap();
    Provisioning::load(&config, &Store::in_memory(Clock::system()).unwrap()).unwrap()
}

async fn put(provisioning: &Provisioning, kind: Kind, name: &str, entry: Value) -> Result<bool, String> {
    let Value::Object(entry) = entry else { panic!("an entry is an object") };
    provisioning.turn().await.put(kind, name, entry).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_is_put_stands_beside_the_configuration_and_outlives_the_engine() {
    let config: Config = toml::from_str(BASE).unwrap();
    let store = Store::in_memory(Clock::system()).unwrap();
    let first = Provisioning::load(&config, &store).unwrap();
    let did = json!({ "destinations": ["user:1001", "class5:1000"], "customer": 12, "vars": { "week": "9-21" } });
    assert_eq!(put(&first, Kind::Did, "+442080000000", did.clone()).await, Ok(true));
    assert_eq!(put(&first, Kind::Did, "442080000000", did).await, Ok(false), "the same number");
    let second = Provisioning::load(&config, &store).unwrap().current();
    let (account, shown) = second.show(Kind::Did, "442080000000").unwrap();
    assert_eq!(account, Some("north"), "its customer's");
    let expected = json!({ "number": "442080000000", "destinations": ["user:1001", "class5:1000"], "customer": 12,
        "account": "north", "vars": { "week": "9-21" }, "source": "http" });
    assert_eq!(shown, expected);
    assert_eq!(second.config.dids.len(), 1);
}

#[tokio::test]
async fn what_is_in_force_is_arranged_before_anybody_has_to_look_it_up() {
    let provisioning = provisioning();
    let before = provisioning.current();
    assert_eq!(put(&provisioning, Kind::Did, "4420", json!({ "destinations": ["user:1001"] })).await, Ok(true));
    let current = provisioning.current();
    assert!(current.lists.dids["4420"].is_put && current.lists.users.contains_key("1001"));
    assert!(before.lists.dids.is_empty(), "a state never changes");
    let wrong = put(&provisioning, Kind::Did, "4421", json!({ "destinations": ["nowhere"] })).await.unwrap_err();
    assert!(wrong.starts_with("destinations: "), "{wrong}");
    assert!(std::sync::Arc::ptr_eq(&current, &provisioning.current()));
}

#[tokio::test]
async fn what_the_configuration_says_is_not_changed() {
    let provisioning = provisioning();
    let refused = put(&provisioning, Kind::User, "1001", json!({ "password": "other" })).await.unwrap_err();
    assert_eq!(refused, "the user 1001 is the configuration's: change it in lockstep.toml");
    assert!(matches!(provisioning.turn().await.remove(Kind::Gateway, "7").await, Err(ProvisioningError::ReadOnly { .. })));
    assert!(matches!(provisioning.turn().await.remove(Kind::Gateway, "8").await, Err(ProvisioningError::NotFound { .. })));
    let current = provisioning.current();
    let routes = current.page(Kind::Route, (None, 10), |_| true);
    assert_eq!((&routes[0]["id"], &routes[0]["source"]), (&json!("route-1"), &json!("configuration")));
}

#[tokio::test]
async fn problems_name_the_key_and_nothing_is_changed() {
    let provisioning = provisioning();
    for (kind, name, entry, expected) in [
        (Kind::Did, "44", json!({}), "destinations: expected one to three destinations, found none"),
        (Kind::Did, "44", json!({ "destinations": ["user:2"] }), "destinations[0]: expected the name of a [[user]], found `2`"),
        (Kind::Did, "44", json!({ "number": "45", "destinations": [] }), "number: expected \"44\" as in the path, found \"45\""),
        (Kind::User, "2", json!({}), "missing field `password`"),
        (
            Kind::User,
            "2",
            json!({ "password": "x", "account": "south" }),
            "account: expected the name of an [[account]], found `south`",
        ),
        (
            Kind::User,
            "2",
            json!({ "password": "file:/etc/shadow" }),
            "password: expected the secret itself; `env:` and `file:` count in lockstep.toml only",
        ),
        (Kind::Route, "all", json!({ "prefix": "1", "gateways": [9] }), "gateways[0]: expected the id of a [[gateway]], found 9"),
        (
            Kind::User,
            "2",
            json!({ "password": "x", "caller_id": "a\r\nb" }),
            "caller_id: expected text without control characters",
        ),
        (
            Kind::Did,
            "++1",
            json!({ "destinations": ["user:1001"] }),
            "expected a name of 1 to 100 letters, digits and `-_.+*#`, found `+1`",
        ),
        (Kind::Customer, "012", json!({}), "expected a name of 1 to 100 letters, digits and `-_.+*#`, found `012`"),
    ] {
        assert_eq!(put(&provisioning, kind, name, entry.clone()).await, Err(expected.to_owned()), "{entry}");
    }
    let refused = put(&provisioning, Kind::Gateway, "8", json!({ "address": "sbc" })).await.unwrap_err();
    assert!(refused.starts_with("address: expected a SIP URI"), "{refused}");
    let refused = put(&provisioning, Kind::Gateway, "8", json!({ "address": "sip:h", "colour": "red" })).await.unwrap_err();
    assert!(refused.starts_with("colour: unknown field"), "{refused}");
    assert_eq!(provisioning.current().config.users.len(), 1);
}

#[tokio::test]
async fn passwords_are_kept_and_never_shown() {
    let provisioning = provisioning();
    put(&provisioning, Kind::User, "2", json!({ "password": "hunter2" })).await.unwrap();
    let (_, shown) = provisioning.current().show(Kind::User, "2").map(|(_, shown)| ((), shown)).unwrap();
    assert!(!shown.to_string().contains("hunter2"), "{shown}");
    assert_eq!(put(&provisioning, Kind::User, "2", shown).await, Ok(false), "what was read can be written back");
    let current = provisioning.current();
    let user = current.config.users.iter().find(|user| user.name == "2").unwrap();
    assert_eq!(user.password.expose(), "hunter2");
}

#[tokio::test]
async fn a_password_goes_with_the_name_it_is_for() {
    let provisioning = provisioning();
    let password = || {
        let current = provisioning.current();
        let customer = current.config.customers.iter().find(|customer| customer.id == 13).unwrap();
        customer.password.as_ref().map(|password| password.expose().to_owned())
    };
    let with = json!({ "user": "pbx", "password": "hunter2" });
    let keeping = json!({ "user": "pbx", "account": "north" });
    for without in [json!({}), json!({ "user": null, "password": null }), json!({ "password": null })] {
        put(&provisioning, Kind::Customer, "13", with.clone()).await.unwrap();
        put(&provisioning, Kind::Customer, "13", keeping.clone()).await.unwrap();
        assert_eq!(password().as_deref(), Some("hunter2"), "it is kept");
        put(&provisioning, Kind::Customer, "13", without).await.unwrap();
        assert_eq!(password(), None);
    }
}

#[tokio::test]
async fn what_is_in_use_stays() {
    let provisioning = provisioning();
    put(&provisioning, Kind::Gateway, "8", json!({ "address": "sip:h" })).await.unwrap();
    put(&provisioning, Kind::Route, "all", json!({ "prefix": "", "gateways": [8] })).await.unwrap();
    let refused = provisioning.turn().await.remove(Kind::Gateway, "8").await.unwrap_err().to_string();
    assert_eq!(refused, "still in use: route all: gateways[0]: expected the id of a [[gateway]], found 8");
    provisioning.turn().await.remove(Kind::Route, "all").await.unwrap();
    provisioning.turn().await.remove(Kind::Gateway, "8").await.unwrap();
    assert!(provisioning.current().show(Kind::Gateway, "8").is_none());
}

#[tokio::test]
async fn an_entry_that_the_configuration_has_overtaken_is_left_out() {
    let store = Store::in_memory(Clock::system()).unwrap();
    let config: Config = toml::from_str(BASE).unwrap();
    let first = Provisioning::load(&config, &store).unwrap();
    put(&first, Kind::User, "2", json!({ "password": "stored" })).await.unwrap();
    put(&first, Kind::Did, "44", json!({ "destinations": ["user:2"] })).await.unwrap();
    let text = format!("{BASE}\n[[user]]\nname = \"2\"\npassword = \"configured\"");
    let current = Provisioning::load(&toml::from_str(&text).unwrap(), &store).unwrap().current();
    assert_eq!(current.config.users.iter().filter(|user| user.name == "2").count(), 1);
    assert_eq!(current.show(Kind::User, "2").unwrap().1["source"], "configuration");
    assert!(current.show(Kind::Did, "44").is_some(), "it still leads to a user");
}

#[tokio::test]
async fn a_list_comes_page_by_page_and_goes_on_where_an_entry_has_gone() {
    let provisioning = provisioning();
    for (name, account) in [("2", "north"), ("3", "default"), ("4", "north")] {
        put(&provisioning, Kind::User, name, json!({ "password": "x", "account": account })).await.unwrap();
    }
    put(&provisioning, Kind::Did, "44", json!({ "destinations": ["user:2"], "customer": 12 })).await.unwrap();
    let users = |page: (Option<&str>, usize), of: Option<&str>| {
        let found = provisioning.current().page(Kind::User, page, |account| of.is_none() || account == of);
        found.iter().map(|user| user["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(users((None, 2), None), ["1001", "2"]);
    assert_eq!(users((Some("2"), 2), None), ["3", "4"]);
    assert_eq!(users((Some("4"), 2), None), [""; 0]);
    assert_eq!(users((None, 2), Some("north")), ["2", "4"], "pages are of what is seen");
    provisioning.turn().await.remove(Kind::User, "3").await.unwrap();
    assert_eq!(users((Some("3"), 2), None), ["4"]);
    let dids = provisioning.current().page(Kind::Did, (None, 10), |account| account == Some("north"));
    assert_eq!((dids.len(), &dids[0]["account"]), (1, &json!("north")), "its customer's");
}
