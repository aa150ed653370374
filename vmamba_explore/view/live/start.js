// Starts the page: its code stands in it as text, deflated.

import { base128Bytes } from "./base128.js";

const packed = document.getElementById("live-code");
const bytes = base128Bytes(packed.textContent, Number(packed.dataset.bytes));
const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const script = document.createElement("script");
script.type = "module";
script.textContent = await new Response(inflated).text();
document.head.append(script);
