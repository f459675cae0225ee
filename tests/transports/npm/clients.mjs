// Asks a server as the official clients do, and tells what they made of its answer: clients.mjs ADDRESS CLIENT [abort]
import { HttpAgent } from "@ag-ui/client";
import { DefaultChatTransport, readUIMessageStream } from "ai";

const [address, client, abort] = process.argv.slice(2);

async function agUi() {
  const agent = new HttpAgent({ url: `${address}/api/ag-ui`, threadId: "thread" });
  agent.messages = [{ id: "u1", role: "user", content: "Hello" }];
  const events = [];
  const failures = [];
  try {
    await agent.runAgent({}, {
      onEvent({ event }) {
        events.push(event.type);
        if (abort && event.type === "TEXT_MESSAGE_CONTENT") agent.abortRun();
      },
    });
  } catch (error) {
    failures.push(String(error));
  }
  return { events, failures, messages: agent.messages };
}

async function vercel() {
  const transport = new DefaultChatTransport({ api: `${address}/api/vercel` });
  const controller = new AbortController();
  const user = { id: "u1", role: "user", parts: [{ type: "text", text: "Hello" }] };
  const chunks = [];
  const failures = [];
  let message = null;
  try {
    const stream = await transport.sendMessages({
      chatId: "chat", messages: [user], trigger: "submit-message", abortSignal: controller.signal,
    });
    const seen = stream.pipeThrough(new TransformStream({
      transform(chunk, next) {
        chunks.push(chunk.type);
        if (abort && chunk.type === "text-delta") controller.abort();
        next.enqueue(chunk);
      },
    }));
    for await (const one of readUIMessageStream({ stream: seen, onError: error => failures.push(String(error)) })) message = one;
  } catch (error) {
    failures.push(String(error));
  }
  return { events: chunks, failures, messages: message ? [message] : [] };
}

console.log(JSON.stringify(await (client === "ag-ui" ? agUi() : vercel())));
process.exit(0);
