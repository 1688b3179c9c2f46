#!/bin/sh
# Makes the stock prompts in scripts/ivr/: 8 kHz mono mu-law WAV, so that a PCMU call plays them byte for byte.
# Needs espeak-ng and sox. Run it from anywhere; it rewrites every prompt of the table below.
# After adding a line here, add the name to media/src/prompt/stock.rs, which builds the files into the binary.
set -eu

out=$(cd "$(dirname "$0")" && pwd)/ivr
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

finish() { # finish IN NAME: cut the silence at both ends, band-limit, level, add 60 ms of rest at each end
    sox "$1" -r 8000 -c 1 -e mu-law -b 8 --no-dither "$out/$2.wav" \
        silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse \
        rate -h 8000 highpass 200 norm -4 pad 0.06 0.06
}

tone() { # tone NAME SECONDS HZ [HZ…]: sine tones mixed, with 5 ms ramps so that they do not click
    name=$1 length=$2
    shift 2
    set -- $(for hz in "$@"; do printf 'sine %s ' "$hz"; done)
    sox -n -r 8000 -c 1 -e mu-law -b 8 --no-dither "$out/$name.wav" synth "$length" "$@" remix - norm -10 fade t 0.005 0 0.005
}

while IFS='|' read -r name text; do
    case $name in '' | '#'*) continue ;; esac
    printf '%s' "$text" | espeak-ng -v en-us+f3 -s 150 -p 45 --stdin -w "$work/$name.wav"
    finish "$work/$name.wav" "$name"
done <<'TABLE'
0|zero
1|one
2|two
3|three
4|four
5|five
6|six
7|seven
8|eight
9|nine
10|ten
11|eleven
12|twelve
13|thirteen
14|fourteen
15|fifteen
16|sixteen
17|seventeen
18|eighteen
19|nineteen
20|twenty
30|thirty
40|forty
50|fifty
60|sixty
70|seventy
80|eighty
90|ninety
hundred|hundred
thousand|thousand
star|star
pound|pound
and|and
minutes|minutes
welcome|Welcome.
main-menu|For sales, press 1. For support, press 2. For the operator, press 0.
enter-pin|Please enter your pin, followed by the pound key.
enter-number|Please enter the number you want to call, followed by the pound key.
enter-extension|Please enter the extension.
invalid|Sorry, that is not a valid choice.
invalid-pin|That pin is not correct.
try-again|Please try again.
thank-you|Thank you.
goodbye|Goodbye.
please-hold|Please hold while I connect your call.
connecting|Connecting.
busy|The line is busy.
no-answer|There is no answer.
unavailable|The person you are calling is not available.
call-failed|Your call could not be completed.
closed|Our office is closed. Please call again during business hours.
recorded|This call may be recorded.
leave-message|Please leave a message after the tone. Press pound when you are done.
message-saved|Your message has been saved.
you-entered|You entered
you-have|You have
press-1-to-accept|You have a call. To accept it, press 1.
accepted|Accepted.
echo-test|This is an echo test. You will hear what you say.
error|Sorry, something went wrong.
TABLE

tone beep 0.25 1000
tone error-tone 0.4 350 440

ls "$out" | wc -l | xargs printf '%s prompts, '
du -ck "$out"/*.wav | tail -n 1 | xargs printf '%s KiB %s\n'
