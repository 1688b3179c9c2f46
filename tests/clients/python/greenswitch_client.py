"""The `greenswitch` package: a client, and an application that answers calls."""

import sys

import gevent
import gevent.event
import greenswitch

from say import DIGITS, say, settings


def inbound(port, password, target):
    client = greenswitch.InboundESL("127.0.0.1", port, password)
    client.connect()
    say("authenticated")
    answered, over = gevent.event.AsyncResult(), gevent.event.AsyncResult()
    client.register_handle("CHANNEL_ANSWER", answered.set)
    client.register_handle("CHANNEL_HANGUP_COMPLETE", over.set)
    client.send("event plain CHANNEL_ANSWER CHANNEL_HANGUP_COMPLETE BACKGROUND_JOB")
    say("status", client.send("api status").data)
    client.send(f"bgapi originate user/{target} &park()")
    uuid = answered.get(timeout=30).headers["Unique-ID"]
    say("originated", uuid)
    say("answered", uuid)
    client.send(f"api uuid_kill {uuid}")
    say("over", over.get(timeout=30).headers["Hangup-Cause"])
    client.stop()


def join(port, password, parties):
    client = greenswitch.InboundESL("127.0.0.1", port, password)
    client.connect()
    bridged, over = gevent.event.AsyncResult(), gevent.event.AsyncResult()
    client.register_handle("CHANNEL_BRIDGE", bridged.set)
    client.register_handle("CHANNEL_HANGUP_COMPLETE", over.set)
    client.send("event plain CHANNEL_BRIDGE CHANNEL_HANGUP_COMPLETE")
    uuids = [client.send(f"api originate user/{party} &park()").data.split()[1] for party in parties]
    client.send(f"api uuid_bridge {uuids[0]} {uuids[1]}")
    headers = bridged.get(timeout=30).headers
    assert [headers["Bridge-A-Unique-ID"], headers["Bridge-B-Unique-ID"]] == uuids, headers
    say("joined")
    say("parted", over.get(timeout=30).headers["Hangup-Cause"])
    client.stop()


class Application:
    def __init__(self, session):
        self.session = session

    def run(self):
        session = self.session
        say("called", session.caller_id_number)
        session.myevents()
        session.linger()
        session.answer()
        session.playback("tone_stream://%(200,0,440)")
        say("played")
        words = DIGITS.split(" ")
        say("digits", session.play_and_get_digits(*words))
        session.hangup()
        SERVER.stop()


def outbound(port):
    global SERVER
    SERVER = greenswitch.OutboundESLServer("127.0.0.1", port, Application)
    gevent.spawn_later(0.1, say, "listening")
    SERVER.listen()


if __name__ == "__main__":
    mode, port, password, target = settings()
    if mode == "inbound":
        inbound(port, password, target)
    elif mode == "join":
        join(port, password, [target, sys.argv[5]])
    else:
        outbound(port)
