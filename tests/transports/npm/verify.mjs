// Reads streams of events from standard input, and has the packages of the protocols say what is wrong with each.
import { readFileSync } from "node:fs";
import { verifyEvents } from "@ag-ui/client";
import { readUIMessageStream, uiMessageChunkSchema } from "ai";
import { from, lastValueFrom, toArray } from "rxjs";

async function agUi(events) {
  await lastValueFrom(from(events).pipe(verifyEvents(false), toArray()));
}

async function vercel(chunks) {
  const schema = uiMessageChunkSchema();
  for (const chunk of chunks) {
    const checked = await schema.validate(chunk);
    if (!checked.success) throw checked.error;
  }
  const stream = new ReadableStream({
    start(controller) {
      for (const chunk of chunks) if (chunk.type !== "error") controller.enqueue(chunk);
      controller.close();
    },
  });
  let message;
  for await (message of readUIMessageStream({ stream, terminateOnError: true }));
  return message;
}

const told = [];
for (const { format, events } of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    told.push({ message: await (format === "ag-ui" ? agUi(events) : vercel(events)) });
  } catch (error) {
    told.push({ error: String(error) });
  }
}
console.log(JSON.stringify(told));
