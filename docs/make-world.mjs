// Makes world.json, the only geography the dashboard needs: a land outline to
// draw, and one point per country to put a circle on. Run it again only when
// a country is added or Natural Earth changes; the result is what is shipped.
//   npm i world-atlas@2.0.2 d3-geo topojson-client i18n-iso-countries
//   node make-world.mjs [world.json]
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { geoArea, geoCentroid } from "d3-geo";
import { feature, quantize, transform } from "topojson-client";
import iso from "i18n-iso-countries";

const require = createRequire(import.meta.url);
const atlas = (name) => JSON.parse(readFileSync(require.resolve(`world-atlas/${name}.json`)));

// A grid of 1e4 x 1e4 is 0.04 degrees: half a pixel on a map 5000 pixels wide,
// and fewer digits than the 1e5 grid the package comes with (which has to be
// undone first: quantize refuses a topology that is on a grid already).
const { transform: grid, ...outline } = atlas("land-110m");
const toDegrees = transform(grid);
outline.arcs = outline.arcs.map((arc) => arc.map((xy, i) => toDegrees(xy, i)));
const land = quantize(outline, 1e4);

// Codes a GeoIP database may answer with, but which are no country of their own
// at 1:50 m in Natural Earth (French departments are part of France there, and
// small islands are merged or left out). Approximate points, set by hand.
const byHand = {
  BQ: [-68.27, 12.18], BV: [3.41, -54.42], CC: [96.87, -12.17], CX: [105.63, -10.45],
  GF: [-53.1, 3.93], GI: [-5.35, 36.14], GP: [-61.55, 16.25], MQ: [-61.02, 14.64],
  RE: [55.54, -21.12], SJ: [16.0, 78.7], TK: [-171.85, -9.17], TV: [179.2, -8.52],
  UM: [166.62, 19.28], YT: [45.15, -12.82],
};
// Features without a numeric id: only Kosovo has an alpha-2 code (user-assigned).
const byName = { Kosovo: "XK" };

// The largest polygon, not the whole country: the centroid of all of France
// or of the United States is pulled out to sea by their far-away parts.
const largest = {};
const atlas50 = atlas("countries-50m");
for (const f of feature(atlas50, atlas50.objects.countries).features) {
  const code = f.id ? iso.numericToAlpha2(f.id) : byName[f.properties.name];
  if (!code) continue;
  const parts = f.geometry.type === "Polygon" ? [f.geometry.coordinates] : f.geometry.coordinates;
  for (const coordinates of parts) {
    const polygon = { type: "Polygon", coordinates };
    const area = geoArea(polygon);
    // One id may come twice (Australia and Ashmore and Cartier): largest wins.
    if (area > (largest[code]?.area ?? 0)) largest[code] = { area, polygon };
  }
}
const points = { ...byHand };
for (const [code, { polygon }] of Object.entries(largest))
  points[code] = geoCentroid(polygon).map((x) => Number(x.toFixed(2)));

const missing = Object.keys(iso.getAlpha2Codes()).filter((code) => !points[code]);
if (missing.length) throw new Error(`no point for ${missing.join(", ")}`);
const countries = Object.fromEntries(Object.entries(points).sort(([a], [b]) => (a < b ? -1 : 1)));
const text = JSON.stringify({ land, countries });
writeFileSync(process.argv[2] ?? "world.json", text + "\n");
console.log(`${Object.keys(countries).length} countries, ${text.length} bytes`);
