//! soap, stripe, helpscout-2.0, elasticemail-webapiclient and ftp.

use serde_json::json;

use crate::ftp_server;
use crate::harness::run;
use crate::http_server::{Server, json as json_answer};

const WSDL: &str = r#"<?xml version="1.0"?>
<definitions name="Rates" targetNamespace="urn:rates" xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:tns="urn:rates"
  xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xsd="http://www.w3.org/2001/XMLSchema">
  <types><xsd:schema targetNamespace="urn:rates" elementFormDefault="qualified">
    <xsd:element name="GetRate"><xsd:complexType><xsd:sequence><xsd:element name="prefix" type="xsd:string"/></xsd:sequence></xsd:complexType></xsd:element>
    <xsd:element name="GetRateResponse"><xsd:complexType><xsd:sequence><xsd:element name="rate" type="xsd:decimal"/></xsd:sequence></xsd:complexType></xsd:element>
  </xsd:schema></types>
  <message name="GetRateIn"><part name="parameters" element="tns:GetRate"/></message>
  <message name="GetRateOut"><part name="parameters" element="tns:GetRateResponse"/></message>
  <portType name="RatesPort"><operation name="GetRate"><input message="tns:GetRateIn"/><output message="tns:GetRateOut"/></operation></portType>
  <binding name="RatesBinding" type="tns:RatesPort"><soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="GetRate"><soap:operation soapAction="urn:rates#GetRate"/><input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation></binding>
  <service name="Rates"><port name="RatesPort" binding="tns:RatesBinding"><soap:address location="http://ADDRESS/rates"/></port></service>
</definitions>"#;

#[tokio::test]
async fn soap_reads_a_wsdl_and_calls_what_it_describes() {
    let server = Server::start(|asked| {
        let xml = vec![("content-type", "text/xml".to_owned())];
        if asked.path == "/rates?wsdl" {
            return (200, xml, WSDL.replace("ADDRESS", asked.header("host")).into_bytes());
        }
        let body = r#"<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>"#;
        let answer = match asked.body.contains("<tns:prefix>44</tns:prefix>") || asked.body.contains(">44</prefix>") {
            true => r#"<GetRateResponse xmlns="urn:rates"><rate>0.0125</rate></GetRateResponse>"#,
            false => "<soap:Fault><faultcode>Client</faultcode><faultstring>no such prefix</faultstring></soap:Fault>",
        };
        (200, xml, format!("{body}{answer}</soap:Body></soap:Envelope>").into_bytes())
    })
    .await;
    let source = r#"
        const soap = require('soap');
        async function main({ url }) {
          const client = await soap.createClientAsync(`${url}/rates?wsdl`);
          const [found] = await client.GetRateAsync({ prefix: '44' });
          const fault = await client.GetRateAsync({ prefix: '99' }).catch((error) => error.message);
          return [Object.keys(client.describe().Rates.RatesPort), Number(found.rate), fault];
        }"#;
    let value = run(source, json!({ "url": server.url() })).await.value();
    assert_eq!(value[0], json!(["GetRate"]));
    assert_eq!(value[1], 0.0125);
    assert!(value[2].as_str().unwrap().contains("no such prefix"), "{value}");
    let call = &server.asked()[1];
    assert_eq!((call.method.as_str(), call.header("soapaction")), ("POST", "\"urn:rates#GetRate\""));
}

#[tokio::test]
async fn stripe_creates_a_charge_lists_customers_and_checks_a_webhook() {
    let server = Server::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", "/v1/payment_intents") if asked.header("authorization") == "Bearer sk_test_1" => {
            json_answer(200, json!({ "id": "pi_1", "object": "payment_intent", "echo": asked.body }))
        }
        ("GET", path) if path.starts_with("/v1/customers") => {
            let first = !path.contains("starting_after");
            let data = if first { json!([{ "id": "cus_1" }, { "id": "cus_2" }]) } else { json!([{ "id": "cus_3" }]) };
            json_answer(200, json!({ "object": "list", "url": "/v1/customers", "has_more": first, "data": data }))
        }
        _ => json_answer(
            402,
            json!({ "error": { "type": "card_error", "code": "card_declined", "message": "Your card was declined." } }),
        ),
    })
    .await;
    let source = r#"
        const Stripe = require('stripe');
        async function main({ host, port }) {
          const stripe = new Stripe('sk_test_1', { host, port, protocol: 'http', maxNetworkRetries: 0, telemetry: false });
          const intent = await stripe.paymentIntents.create({ amount: 1999, currency: 'gbp', metadata: { call: 'a b' } });
          const customers = [];
          for await (const customer of stripe.customers.list({ limit: 2 })) customers.push(customer.id);
          const declined = await stripe.refunds.create({ charge: 'ch_1' }).catch((error) => [error.type, error.code, error.statusCode]);
          const payload = JSON.stringify({ id: 'evt_1', object: 'event', type: 'charge.succeeded' });
          const header = stripe.webhooks.generateTestHeaderString({ payload, secret: 'whsec_1' });
          const event = stripe.webhooks.constructEvent(payload, header, 'whsec_1');
          let forged;
          try { stripe.webhooks.constructEvent(`${payload} `, header, 'whsec_1'); } catch (error) { forged = error.type; }
          return [intent.id, intent.echo, customers, declined, event.id, forged];
        }"#;
    let data = json!({ "host": "127.0.0.1", "port": server.address.port() });
    let value = run(source, data).await.value();
    assert_eq!(value[0], "pi_1");
    assert_eq!(value[1], "amount=1999&currency=gbp&metadata[call]=a%20b");
    assert_eq!(value[2], json!(["cus_1", "cus_2", "cus_3"]));
    assert_eq!(value[3], json!(["StripeCardError", "card_declined", 402]));
    assert_eq!(value[4], "evt_1");
    assert_eq!(value[5], "StripeSignatureVerificationError");
}

#[tokio::test]
async fn helpscout_signs_in_and_reads_creates_and_pages() {
    let server = Server::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", "/v2/oauth2/token?grant_type=client_credentials&client_id=id&client_secret=secret") => {
            json_answer(200, json!({ "access_token": "token-1", "expires_in": 3600, "token_type": "bearer" }))
        }
        _ if asked.header("authorization") != "Bearer token-1" => json_answer(401, json!({})),
        ("POST", "/v2/conversations") => (201, vec![("resource-id", "77".to_owned())], Vec::new()),
        ("GET", "/v2/customers/5") => json_answer(200, json!({ "id": 5, "firstName": "Ada" })),
        ("GET", path) if path.starts_with("/v2/mailboxes?page=") => {
            let page: u32 = path.rsplit('=').next().and_then(|page| page.parse().ok()).unwrap_or(0);
            json_answer(200, json!({ "_embedded": { "mailboxes": [{ "id": page }] }, "page": { "totalPages": 2 } }))
        }
        _ => json_answer(404, json!({})),
    })
    .await;
    // Its address is in its text: requests to it are sent to the mock instead.
    let source = r#"
        const http = require('http');
        const https = require('https');
        const HelpScout = require('helpscout-2.0');
        async function main({ port }) {
          https.request = (options, listener) => {
            if ((options.hostname ?? options.host) !== 'api.helpscout.net') throw new Error(`asked ${options.host}`);
            return http.request({ ...options, protocol: 'http:', agent: undefined, host: '127.0.0.1', hostname: '127.0.0.1', port }, listener);
          };
          const client = new HelpScout({ clientId: 'id', clientSecret: 'secret' });
          const customer = await client.get('customers', 5);
          const created = await client.create('conversations', { subject: 'Missed call' });
          const mailboxes = await client.list('mailboxes');
          return [customer.firstName, created, mailboxes.map((mailbox) => mailbox.id)];
        }"#;
    let value = run(source, json!({ "port": server.address.port() })).await.value();
    assert_eq!(value, json!(["Ada", "77", [1, 2]]));
    let created = server.asked().into_iter().find(|asked| asked.path == "/v2/conversations").unwrap();
    assert_eq!(created.body, r#"{"subject":"Missed call"}"#);
}

#[tokio::test]
async fn elasticemail_sends_a_message_as_a_form() {
    let server = Server::start(|asked| {
        let has = |field: &str, value: &str| asked.body.contains(&format!("name=\"{field}\"\r\n\r\n{value}\r\n"));
        let sent =
            asked.path == "/v2/email/send" && has("apikey", "key-1") && has("subject", "Voicemail") && has("to", "a@example.com");
        json_answer(200, json!({ "success": sent, "data": { "messageid": "m-1" } }))
    })
    .await;
    let source = r#"
        const elastic = require('elasticemail-webapiclient').client;
        async function main({ url }) {
          const client = new elastic({ apiUri: `${url}/`, apiKey: 'key-1', apiVersion: 'v2' });
          return client.Email.Send({ subject: 'Voicemail', to: 'a@example.com', from: 'b@example.com', body: 'You have a message' });
        }"#;
    let value = run(source, json!({ "url": server.url() })).await.value();
    assert_eq!(value, json!({ "success": true, "data": { "messageid": "m-1" } }));
    let asked = &server.asked()[0];
    assert!(asked.header("content-type").starts_with("multipart/form-data; boundary="), "{asked:?}");
}

#[tokio::test]
async fn ftp_lists_gets_and_puts() {
    let server = ftp_server::start("user", "secret", [("rates.csv", "prefix,rate\n44,0.01\n")]).await;
    let source = r#"
        const Client = require('ftp');
        const done = (start) => new Promise((resolve, reject) => start((error, value) => (error ? reject(error) : resolve(value))));
        async function main({ port, password }) {
          const client = new Client();
          await new Promise((resolve, reject) => client.on('ready', resolve).on('error', reject).connect({ host: '127.0.0.1', port, user: 'user', password }));
          const before = (await done((cb) => client.list(cb))).map((entry) => [entry.name, entry.size]);
          const stream = await done((cb) => client.get('rates.csv', cb));
          let text = '';
          for await (const chunk of stream) text += chunk.toString();
          await done((cb) => client.put(Buffer.from('x'.repeat(200000)), 'cdr.csv', cb));
          const after = (await done((cb) => client.list(cb))).map((entry) => [entry.name, entry.size]);
          const missing = await done((cb) => client.get('nothing', cb)).catch((error) => error.code);
          client.end();
          return { before, text, after, missing };
        }"#;
    let data = |password: &str| json!({ "port": server.port, "password": password });
    let value = run(source, data("secret")).await.value();
    assert_eq!(value["before"], json!([["rates.csv", 20]]));
    assert_eq!(value["text"], "prefix,rate\n44,0.01\n");
    assert_eq!(value["after"], json!([["cdr.csv", 200_000], ["rates.csv", 20]]));
    assert_eq!(value["missing"], 550);
    assert_eq!(server.file("cdr.csv"), Some(vec![b'x'; 200_000]));
    let refused = run(source, data("wrong")).await;
    assert!(refused.result.is_none() && refused.stderr.contains("Login incorrect"), "{refused:?}");
}
