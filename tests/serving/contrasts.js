// Of each text that is in sight: its contrast with what is behind it, and how much it needs (WCAG 2.2, 1.4.3).
() => {
  const parse = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, under) => Object.fromEntries(
    ["r", "g", "b"].map((c) => [c, top[c] * top.a + under[c] * (1 - top.a)]).concat([["a", 1]]));
  const behind = (element) => {
    const chain = [];
    for (let at = element; at; at = at.parentElement)
      chain.push(parse(getComputedStyle(at).backgroundColor));
    return chain.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => [r, g, b]
    .map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const found = [];
  const look = (element, text, style) => {
    const ground = behind(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const colour = style.fill && element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const found_ratio = ratio(light(over(parse(colour), ground)), light(ground));
    found.push([text.slice(0, 40), found_ratio, large ? 3 : 4.5]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest("noscript, .skip, .hidden, option")) continue;
    look(element, text, getComputedStyle(element));
  }
  for (const input of document.querySelectorAll("input[placeholder]"))
    look(input, input.placeholder, getComputedStyle(input, "::placeholder"));
  return found;
}
