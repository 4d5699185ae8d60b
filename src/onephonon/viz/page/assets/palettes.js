// Palettes: perceptually uniform and readable with colour blindness; linear between up to seventeen stops.
// viridis, inferno and cividis are from matplotlib (CC0); the diverging palettes are our own.

const STOPS = {
  viridis: "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725",
  inferno: "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4",
  cividis: "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
  grey: "101010 f4f4f4",
  "blue–orange": "08306b 2166ac 6aa5d8 b9d6ec f4f4f2 f5c892 e68a2e b45309 6b2c05",
  "blue–dark–orange": "b5dcff 5aa9ee 2a6fb5 1d3f66 17191e 64391a b4601a ee9a3f ffdcae",
};

export const SEQUENTIAL = ["viridis", "inferno", "cividis", "grey"];
export const DIVERGING = ["blue–orange", "blue–dark–orange"];

/** 256 colours of a palette, four octets each. */
export function colours(name) {
  const stops = STOPS[name].split(" ").map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(1024);
  for (let n = 0; n < 256; n++) {
    const place = (n / 255) * (stops.length - 1);
    const from = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      table[4 * n + c] = stops[from][c] + (place - from) * (stops[from + 1][c] - stops[from][c]);
    }
    table[4 * n + 3] = 255;
  }
  return table;
}
