"""The `Genesis` package: a client, and an application that answers calls."""

import asyncio

from genesis import Inbound, Outbound

from say import DIGITS, say, settings


async def inbound(port, password, target):
    async with Inbound("127.0.0.1", port, password) as client:
        say("authenticated")
        answered, over = asyncio.Event(), asyncio.Event()
        seen = {}

        async def on_answer(event):
            seen["uuid"] = event["Unique-ID"]
            answered.set()

        async def on_end(event):
            seen["cause"] = event["Hangup-Cause"]
            over.set()

        client.on("CHANNEL_ANSWER", on_answer)
        client.on("CHANNEL_HANGUP_COMPLETE", on_end)
        await client.send("event plain CHANNEL_ANSWER CHANNEL_HANGUP_COMPLETE")
        say("status", (await client.send("api status")).body)
        await client.send(f"bgapi originate user/{target} &park()")
        await asyncio.wait_for(answered.wait(), 30)
        say("originated", seen["uuid"])
        say("answered", seen["uuid"])
        await client.send(f"api uuid_kill {seen['uuid']}")
        await asyncio.wait_for(over.wait(), 30)
        cause = seen["cause"]
        say("over", cause[0] if isinstance(cause, list) else cause)


async def outbound(port):
    done = asyncio.Event()

    async def application(session):
        say("called", session.context["Caller-Caller-ID-Number"])
        await session.sendmsg("execute", "answer", block=True)
        await session.sendmsg("execute", "playback", "tone_stream://%(200,0,440)", block=True)
        say("played")
        collected = await session.sendmsg("execute", "play_and_get_digits", DIGITS, block=True)
        say("digits", collected["variable_pin"])
        await session.sendmsg("hangup", "", "NORMAL_CLEARING")
        done.set()

    server = Outbound(application, "127.0.0.1", port)
    await server.start(block=False)
    say("listening")
    await done.wait()


if __name__ == "__main__":
    mode, port, password, target = settings()
    asyncio.run(inbound(port, password, target) if mode == "inbound" else outbound(port))
