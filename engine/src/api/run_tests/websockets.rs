//! Scripts that serve WebSockets.

use futures_util::SinkExt as _;

use super::*;
use crate::core::EngineError;
use crate::core::handle::Request;

#[tokio::test]
async fn a_websocket_is_served_in_the_old_way_and_in_the_new() {
    let old = "// @lockstep public=true\nfunction main(_, ws) { ws.on('data', (d) => ws.send('old ' + d)); }";
    let new = "// @lockstep public=true\nimport { send, waitForClose } from 'cxWebSocket';
        export async function main(data) { await send({ hello: data.name }); const end = await waitForClose(); console.log(end.code) }
        export async function onData(data) { await send(typeof data === 'string' ? 'new ' + data : Buffer.from([...data].reverse())) }";
    let site = Site::new(&[("old.js", old), ("new.mjs", new)]).await;
    let mut socket = connect(site.public, &format!("/f/{}", site.uuid("old"))).await;
    for text in ["one", "two"] {
        socket.send(Frame::text(text)).await.unwrap();
    }
    assert_eq!(heard(&mut socket).await, Frame::text("old one"));
    assert_eq!(heard(&mut socket).await, Frame::text("old two"));
    let mut socket = connect(site.api, "/v1/scripts/new/ws?name=Ann").await;
    assert_eq!(heard(&mut socket).await, Frame::text("{\"hello\":\"Ann\"}"));
    socket.send(Frame::text("text")).await.unwrap();
    assert_eq!(heard(&mut socket).await, Frame::text("new text"));
    socket.send(Frame::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(heard(&mut socket).await, Frame::binary(vec![3, 2, 1]));
}

#[tokio::test]
async fn either_side_closes_a_websocket_and_the_run_is_over() {
    let source = "exports.onData = (d, ws) => { if (d === 'fail') null.x; return ws.close(4001, 'enough') }";
    let site = Site::new(&[("chat.js", source)]).await;
    for (message, code, reason) in [("end", 4001, "enough"), ("fail", 1011, "Script Error")] {
        let mut socket = connect(site.api, "/v1/scripts/chat/ws").await;
        socket.send(Frame::text(message)).await.unwrap();
        let Frame::Close(Some(close)) = heard(&mut socket).await else { panic!("the script closes") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (code, reason));
    }
    let mut socket = connect(site.api, "/v1/scripts/chat/ws").await;
    socket.close(None).await.unwrap();
    while !site.handle.list().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handler_may_wait_for_the_close_and_a_module_greet_at_its_top_level() {
    let source = "import { send, waitForClose } from 'cxWebSocket';
        import { kv } from 'cxKV';
        send('welcome');
        export async function onData(data) { await send('heard'); await kv.set('end', JSON.stringify(await waitForClose())) }";
    let site = Site::new(&[("greet.mjs", source)]).await;
    let mut socket = connect(site.api, "/v1/scripts/greet/ws").await;
    assert_eq!(heard(&mut socket).await, Frame::text("welcome"));
    socket.send(Frame::text("start")).await.unwrap();
    assert_eq!(heard(&mut socket).await, Frame::text("heard"));
    let bye = tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 4002.into(), reason: "bye".into() };
    socket.close(Some(bye)).await.unwrap();
    assert_eq!(site.kept("end").await, r#"{"code":4002,"reason":"bye"}"#);
}

#[tokio::test]
async fn a_script_that_closes_its_websocket_learns_how_and_sends_nothing_more() {
    let source = "const { kv } = require('cxKV');
        exports.main = (_, ws) => {
          const heard = [ws.readyState];
          ws.once('data', async () => {
            heard.push(await ws.close(999).catch((error) => error.message.split(':')[0]));
            ws.send('last', (error) => heard.push(error));
            await ws.close(4001, 'enough');
            heard.push(await ws.send('after').catch((error) => error.name));
            ws.send('after', (error) => heard.push(error.name));
          });
          ws.on('close', (code, reason) => kv.set('heard', JSON.stringify([...heard, ws.readyState, code, reason])));
        };";
    let site = Site::new(&[("bye.js", source)]).await;
    let mut socket = connect(site.api, "/v1/scripts/bye/ws").await;
    socket.send(Frame::text("end")).await.unwrap();
    assert_eq!(heard(&mut socket).await, Frame::text("last"));
    let told: Value = serde_json::from_str(site.kept("heard").await.as_str().unwrap()).unwrap();
    assert_eq!(told, json!([1, "cxWebSocket.close", null, "InvalidState", "InvalidState", 3, 4001, "enough"]));
}

#[tokio::test]
async fn whoever_sends_too_much_at_once_is_told() {
    let site = Site::new(&[("echo.js", "exports.onData = (d, ws) => ws.send(d)")]).await;
    for (path, bytes) in [("/v1/scripts/echo/ws", (1 << 20) + 1), ("/v1/events", (64 << 10) + 1)] {
        let mut socket = connect(site.api, path).await;
        socket.send(Frame::text("x".repeat(bytes))).await.unwrap();
        let told = loop {
            match heard(&mut socket).await {
                Frame::Close(Some(close)) => break u16::from(close.code),
                // The greeting of the events.
                Frame::Text(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told, 1009, "{path}");
    }
}

#[tokio::test]
async fn public_websockets_are_bounded_and_leave_those_with_keys_their_places() {
    let source = "// @lockstep public=true\nfunction main(_, ws) { ws.on('data', (d) => ws.send(d)); }";
    let site = Site::new(&[("echo.js", source)]).await;
    let path = format!("/f/{}", site.uuid("echo"));
    let mut first = connect(site.public, &path).await;
    let _second = connect(site.public, &path).await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{}{path}", site.public)).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(response)) = refused else { panic!("there are two places") };
    assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (503, true));
    let mut keyed = connect(site.api, "/v1/scripts/echo/ws").await;
    keyed.send(Frame::text("here")).await.unwrap();
    assert_eq!(heard(&mut keyed).await, Frame::text("here"));
    first.close(None).await.unwrap();
    while tokio_tungstenite::connect_async(format!("ws://{}{path}", site.public)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_script_that_serves_no_websocket_says_so() {
    let site = Site::new(&[("none.js", "exports.other = () => 1"), ("closed.js", "exports.onData = () => 1")]).await;
    let mut socket = connect(site.api, "/v1/scripts/none/ws").await;
    assert!(matches!(heard(&mut socket).await, Frame::Close(Some(close)) if u16::from(close.code) == 1011));
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/f/{}", site.public, site.uuid("closed"))).await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(response)) = refused else { panic!("it is not public") };
    assert_eq!(response.status().as_u16(), 404);
}

#[tokio::test]
async fn a_listener_that_takes_another_off_leaves_the_others() {
    let source = "exports.main = (_, ws) => {
          const second = () => ws.send('second');
          ws.on('data', () => ws.off('data', second));
          ws.once('data', second);
          ws.on('data', (data) => ws.send('third ' + data));
        };";
    let site = Site::new(&[("off.js", source)]).await;
    let mut socket = connect(site.api, "/v1/scripts/off/ws").await;
    socket.send(Frame::text("a")).await.unwrap();
    socket.send(Frame::text("b")).await.unwrap();
    for expected in ["second", "third a", "third b"] {
        assert_eq!(heard(&mut socket).await, Frame::text(expected));
    }
}

#[tokio::test]
async fn commands_are_carried_out_though_their_client_closes_right_behind_them() {
    let platform = Platform::in_memory(&Config::default()).unwrap();
    let (engine, mut inbox, _) = EngineHandle::new(Vec::new(), RunsHandle::stopped(), platform);
    let config = ApiConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..ApiConfig::default() };
    let server = Server::bind(&config, engine).await.unwrap();
    let address = server.addr();
    tokio::spawn(server.serve(std::future::pending()));
    let mut socket = connect(address, "/v1/events").await;
    for call in ["a", "b"] {
        socket.send(Frame::text(json!({ "command": "hangup", "call": call }).to_string())).await.unwrap();
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    for call in ["a", "b"] {
        let Some(Request::Call(asked, reply)) = inbox.recv().await else { panic!("whose call it is") };
        assert_eq!(asked, call);
        assert!(reply.send(Err(EngineError::NoSuchCall(asked))).is_ok(), "somebody waits for it");
    }
}
