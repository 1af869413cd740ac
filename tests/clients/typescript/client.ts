// What a user of a generated client writes: upload, list, create a webhook. Prints one line of JSON.
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

const [address, key, archive] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${key}` } });

const form = new FormData();
form.append("file", new Blob([new Uint8Array(await readFile(archive))]), "invoices.zip");
const upload = await client.POST("/v1/uploads", {
  params: { query: { flush: true, reference: "typescript" } },
  body: { file: [] },
  bodySerializer: () => form,
});
if (upload.data === undefined) throw new Error(JSON.stringify(upload.error));

let seen: components["schemas"]["Upload"] = upload.data;
const ends = Date.now() + 60_000;
while (seen.completed_at === null && Date.now() < ends) {
  await new Promise((resolve) => setTimeout(resolve, 200));
  const answer = await client.GET("/v1/uploads/{upload_id}", { params: { path: { upload_id: seen.id } } });
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  seen = answer.data;
}

const invoices = await client.GET("/v1/invoices", { params: { query: { upload: seen.id, state: ["accepted"], limit: 10 } } });
const first = invoices.data?.items[0];
if (first === undefined) throw new Error(JSON.stringify(invoices.error ?? seen));
const xml = await client.GET("/v1/invoices/{invoice_id}/xml", {
  params: { path: { invoice_id: first.id } },
  parseAs: "text",
});

const webhook = await client.POST("/v1/webhooks", {
  body: { url: "http://127.0.0.1:9/ksef", events: ["invoices.accepted"] },
});
if (webhook.data === undefined) throw new Error(JSON.stringify(webhook.error));
const missing = await client.GET("/v1/invoices/{invoice_id}", { params: { path: { invoice_id: `inv_${"0".repeat(32)}` } } });

console.log(
  JSON.stringify({
    state: seen.state,
    accepted: seen.counts.accepted,
    listed: invoices.data?.items.length,
    xml: String(xml.data).includes("<Faktura"),
    secret: webhook.data.secret?.slice(0, 6),
    problem: missing.error?.code,
  }),
);
