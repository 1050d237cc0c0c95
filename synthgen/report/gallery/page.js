"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = Object.fromEntries(data.fields.map((name, place) => [name, place]));
  const $ = (id) => document.getElementById(id);
  const PAGE = 60;
  const COLOURS = ["#4477dd", "#dd7733", "#2f9e63", "#b04fc4", "#c9a227", "#d1495b", "#3aa7b8", "#7a6ff0", "#8a9a3b", "#b5651d", "#6b7280"];

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const draw = (name, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const unique = (place) => [...new Set(data.samples.map((sample) => sample[place]))].sort();
  const thousands = (number) => number.toLocaleString("en");
  const table = (target, head, rows, numeric = []) => {
    const cell = (name, text, place) =>
      make(name, numeric.includes(place) ? { class: "number" } : {}, String(text));
    target.append(make("thead", {}, make("tr", {}, ...head.map((text, place) => cell("th", text, place)))));
    target.append(make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text, place) => cell("td", text, place))))));
  };

  // ---- what the dataset is
  const facts = data.facts;
  document.title = `${facts.name} — synthgen report`;
  $("name").textContent = facts.name;
  const shown = facts.shown < facts.samples ? `, ${thousands(facts.shown)} of them shown here, evenly chosen` : "";
  $("summary").textContent =
    `${thousands(facts.samples)} samples in ${thousands(facts.shards)} ${facts.shards === 1 ? "shard" : "shards"}, ${(facts.bytes / 2 ** 20).toFixed(1)} MiB, ` +
    `${facts.image_sizes.join(", ")} pixels${shown}${facts.complete ? "" : " — the build is not complete"}`;
  const barred = Object.keys(facts.licences).filter((name) => facts.commercial_use[name] === false);
  if (barred.length) {
    $("licence").hidden = false;
    $("licence").textContent = `Not for commercial use: these images are derived from ${barred
      .map((name) => `${name} (${facts.licences[name]})`)
      .join(", ")}.`;
  }
  $("failed").hidden = !facts.failed.length;
  $("failed").textContent = `A bug of a type: ${facts.failed.join("; ")}.`;
  const many = (values, unit) => `${values.map((value) => Number(value.toPrecision(2))).join(" / ")} ${unit}`;
  table(
    $("groups"),
    ["Category", "Type", "Samples", "Rejected", "Area, 5th / 50th / 95th percentile", "Contrast, likewise"],
    facts.groups.map((one) => [
      one.category, one.type, thousands(one.samples), thousands(one.rejected), many(one.area, "%"), many(one.contrast, "levels"),
    ]),
    [2, 3],
  );
  table($("facts"), ["What", "Value"], [
    ["made by", `synthgen ${data.version} (this report); generators ${facts.generators.join(", ")}`],
    ["seed", facts.seeds.join(", ")],
    ["refinement", facts.refine.join(", ") || "none"],
    ...Object.entries(facts.foregrounds).map(([place, sentence]) => [`foreground of ${place}`, sentence]),
    ...Object.entries(facts.licences).map(([name, text]) => [`licence of ${name}`, text]),
    ...Object.entries(facts.redrawn).map(([name, reasons]) => [
      `drawn again, ${name}`, Object.entries(reasons).map(([reason, count]) => `${thousands(count)} ${reason}`).join(", "),
    ]),
  ]);
  $("config").textContent = facts.config || "There is no manifest: this is a single shard, or a build that is not complete.";

  // ---- rejected
  const reasons = Object.entries(data.rejected.reasons);
  const total = reasons.reduce((sum, [, count]) => sum + count, 0);
  $("rejected-note").textContent = total
    ? `${thousands(total)} samples have no accepted draw: their slots hold the untouched normal image, labelled normal.`
    : "None: every sample has an accepted draw.";
  if (total) table($("reasons"), ["Reason", "Samples"], reasons.map(([reason, count]) => [reason, thousands(count)]), [1]);
  $("rejected-details").hidden = !total;
  if (total) table($("rejected-samples"), ["Sample", "Reason"], data.rejected.samples);

  // ---- charts
  const chart = (name, histogram) => {
    const [width, height, bottom] = [460, 190, 32];
    const kinds = Object.keys(histogram.bins).filter((kind) => histogram.bins[kind].some((count) => count));
    const bins = histogram.edges.length - 1;
    const sums = Array.from({ length: bins }, (_, k) => kinds.reduce((sum, kind) => sum + histogram.bins[kind][k], 0));
    const most = Math.max(...sums, 1);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram of ${name}` });
    for (let k = 0; k < bins; k++) {
      let base = height - bottom;
      kinds.forEach((kind, number) => {
        const tall = (histogram.bins[kind][k] / most) * (height - bottom - 10);
        base -= tall;
        const bar = draw("rect", {
          x: (k * width) / bins + 1, y: base, width: width / bins - 2, height: tall, fill: COLOURS[number % COLOURS.length],
        });
        bar.append(draw("title", {}, `${kind}: ${thousands(histogram.bins[kind][k])}, ${histogram.edges[k]} to ${histogram.edges[k + 1]}`));
        svg.append(bar);
      });
    }
    svg.append(draw("line", { x1: 0, x2: width, y1: height - bottom, y2: height - bottom, class: "axis" }));
    [0, 0.25, 0.5, 0.75, 1].forEach((share) => {
      const edge = histogram.edges[Math.round(share * bins)];
      const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
      const text = draw("text", { x: share * width, y: height - bottom + 15, "text-anchor": anchor });
      text.append(String(Number(edge.toPrecision(2))));
      svg.append(text);
    });
    const legend = make("p", { class: "legend" }, ...kinds.map((kind, number) => {
      const mark = make("i", { style: `background: ${COLOURS[number % COLOURS.length]}` });
      return make("span", {}, mark, kind);
    }));
    const scale = histogram.logarithmic ? ", logarithmic" : "";
    return make("div", { class: "chart" }, make("h3", {}, `${name[0].toUpperCase()}${name.slice(1)}`),
      make("p", { class: "faint" }, `${histogram.unit}${scale}; all accepted samples`), svg, legend);
  };
  for (const [name, histogram] of Object.entries(data.histograms)) $("charts").append(chart(name, histogram));
  $("heat-note").textContent =
    `Share of the ${thousands(facts.shown)} samples shown here whose mask covers a place; brightest is the largest share.`;
  for (const [name, cells] of Object.entries(data.heat)) {
    const side = cells.length;
    const canvas = make("canvas", { width: side, height: side, role: "img", "aria-label": `Places of masks in ${name}` });
    const pixels = new ImageData(side, side);
    const most = Math.max(...cells.flat(), 1e-9);
    cells.flat().forEach((share, k) => {
      const heat = share / most;
      pixels.data.set([255 * Math.min(1, 1.6 * heat), 255 * Math.max(0, 1.5 * heat - 0.55), 60 + 120 * heat * (1 - heat) * 2, 255], 4 * k);
    });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    const peak = `at most ${(100 * most).toPrecision(2)} %`;
    $("heat").append(make("div", { class: "chart square" }, make("h3", {}, name), canvas, make("p", { class: "faint" }, peak)));
  }

  // ---- samples
  const choices = (id, place, all) => {
    const values = unique(place);
    $(id).append(make("option", { value: "" }, all), ...values.map((value) => make("option", { value }, value)));
    return values;
  };
  choices("category", at.category, "all");
  choices("type", at.type, "all");
  if (choices("size", at.size, "all").length < 2) $("size-label").hidden = true;
  const areas = { "all": [0, Infinity], "below 0.3 %": [0, 0.3], "0.3 to 3 %": [0.3, 3], "3 % and more": [3, Infinity] };
  $("area").append(...Object.keys(areas).map((name) => make("option", { value: name }, name)));
  const rated = data.samples.some((sample) => sample[at.quality] !== null);
  $("quality-label").hidden = !rated;
  const orders = {
    "as stored": null, "largest first": [at.area, -1], "smallest first": [at.area, 1],
    "strongest first": [at.contrast, -1], "faintest first": [at.contrast, 1],
  };
  if (rated) Object.assign(orders, { "best first": [at.quality, -1], "worst first": [at.quality, 1] });
  $("order").append(...Object.keys(orders).map((name) => make("option", { value: name }, name)));

  let chosen = [];
  let drawn = 0;
  const picture = (sample, large = false) => {
    const [width, height] = sample[at.size].split(" x ").map(Number);
    const image = make("img", { src: `data:image/webp;base64,${sample[at.thumbnail]}`, alt: "", decoding: "async" });
    const box = `-0.5 -0.5 ${width} ${height}`;
    const svg = draw("svg", { viewBox: box, "aria-hidden": "true" }, draw("path", { d: sample[at.outline] }));
    return large ? [image, svg] : make("div", { class: "picture" }, image, svg);
  };
  const told = (sample) =>
    `${sample[at.area]} % of the image, contrast ${sample[at.contrast]}` +
    (sample[at.quality] === null ? "" : `, quality ${sample[at.quality]}`);
  const card = (sample, place) => {
    const button = make("button", { type: "button", class: "card", "aria-label": `${sample[at.type]}, ${sample[at.id]}, ${told(sample)}` });
    button.append(picture(sample), make("span", {}, sample[at.type]), make("small", { title: sample[at.id] }, sample[at.id]));
    button.addEventListener("click", () => open(place));
    return make("li", {}, button);
  };
  const more = () => {
    const next = chosen.slice(drawn, drawn + PAGE);
    $("grid").append(...next.map((sample, k) => card(sample, drawn + k)));
    drawn += next.length;
    $("more").hidden = drawn >= chosen.length;
  };
  const filter = () => {
    const wanted = { category: $("category").value, type: $("type").value, size: $("size").value };
    const least = rated ? Number($("quality").value) : 0;
    const [from, to] = areas[$("area").value];
    $("quality-value").textContent = least.toFixed(2);
    chosen = data.samples.filter((sample) =>
      Object.entries(wanted).every(([name, value]) => !value || sample[at[name]] === value) &&
      sample[at.area] >= from && sample[at.area] < to &&
      (least === 0 || (sample[at.quality] !== null && sample[at.quality] >= least)));
    const order = orders[$("order").value];
    if (order) {
      const last = order[1] > 0 ? Infinity : -Infinity;
      const value = (sample) => (sample[order[0]] === null ? last : sample[order[0]]);
      chosen.sort((one, other) => order[1] * (value(one) - value(other)));
    }
    $("count").textContent = chosen.length === data.samples.length
      ? `${thousands(chosen.length)} samples` : `${thousands(chosen.length)} of ${thousands(data.samples.length)} samples`;
    $("grid").replaceChildren();
    drawn = 0;
    more();
  };
  $("filters").addEventListener("input", (event) => {
    if (event.target !== $("masks")) filter();
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("more").firstElementChild.addEventListener("click", more);
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && drawn < chosen.length) more();
  }, { rootMargin: "600px" }).observe($("more"));

  // ---- sections
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const select = (tab) => {
    for (const one of tabs) {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
      $(one.getAttribute("aria-controls")).hidden = one !== tab;
    }
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      const next = tabs[(place + by + tabs.length) % tabs.length];
      select(next);
      next.focus();
    });
  });
  select(tabs[0]);

  // ---- masks on and off, and a sample in large
  const masks = (on) => {
    document.body.classList.toggle("masks-off", !on);
    $("masks").checked = on;
    $("zoom-mask").setAttribute("aria-pressed", String(on));
  };
  $("masks").addEventListener("change", () => masks($("masks").checked));
  $("zoom-mask").addEventListener("click", () => masks(document.body.classList.contains("masks-off")));
  let current = 0;
  const show = () => {
    const sample = chosen[current];
    $("zoom-title").textContent = sample[at.id];
    $("zoom-picture").replaceChildren(...picture(sample, true));
    $("zoom-facts").textContent = `${sample[at.type]}, ${sample[at.size]} pixels, ${told(sample)}; thumbnail of ${facts.thumbnail} pixels`;
  };
  const open = (place) => {
    current = place;
    show();
    $("zoom").showModal();
  };
  const step = (by) => {
    current = (current + by + chosen.length) % chosen.length;
    show();
  };
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => $("zoom").close());
  $("zoom").addEventListener("click", (event) => {
    if (event.target === $("zoom")) $("zoom").close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.key === "m") masks(document.body.classList.contains("masks-off"));
    if (!$("zoom").open) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  masks(true);
  filter();
})();
