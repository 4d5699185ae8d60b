// Shader of the volume: one ray per pixel through the box of voxels.
//
// Coordinates p run from 0 to 1 along h, k and l in the box. The matrix of the box shears it for
// oblique cells, and s = toS · p + s0 gives 1/d. A texel is (value on the colour scale, 1), or
// (0, 0) where data are missing; the ratio of the interpolated components is the mean of the
// voxels that have data.

export const vertexShader = `
out vec3 at;
void main() {
  at = position + 0.5;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}`;

export const fragmentShader = `
precision highp float;
precision highp sampler3D;

uniform sampler3D field;
uniform sampler2D palette;
uniform vec3 eye;        // the camera, in the box
uniform vec3 voxels;     // along h, k, l
uniform mat3 toS;
uniform vec3 s0;
uniform mat3 toWorldNormal;
uniform mat3 toWorld;
uniform vec2 range2;     // of s squared
uniform vec2 colourRange;
uniform int picture;     // 0 volume, 1 surface, 2 maximum, 3 nothing
uniform bool isSigned;
uniform float level;
uniform float density;
uniform vec3 crossHair;
uniform bool planes;
uniform bool cut;
uniform float stepsPerVoxel;
uniform vec3 missing;
uniform vec3 above;      // colours of the surfaces
uniform vec3 below;

in vec3 at;
out vec4 colour;

const int MAX_STEPS = 900;

float s2Of(vec3 p) { vec3 s = toS * p + s0; return dot(s, s); }

bool isAsked(vec3 p) { float s2 = s2Of(p); return s2 >= range2.x && s2 <= range2.y; }

vec2 texel(vec3 p) { return texture(field, p.zyx).rg; }

// Value on the scale, and whether there is one.
bool valueAt(vec3 p, out float value) {
  vec2 both = texel(p);
  value = both.r / max(both.g, 1e-4);
  return both.g > 0.5;
}

float fraction(float value) { return clamp((value - colourRange.x) / (colourRange.y - colourRange.x), 0.0, 1.0); }

vec3 ink(float value) { return texture(palette, vec2((fraction(value) * 255.0 + 0.5) / 256.0, 0.5)).rgb; }

// Weight of a value: its distance from the lower end of the range, or from zero.
float weight(float value) { float x = fraction(value); return isSigned ? abs(2.0 * x - 1.0) : x; }

float height(float value) { return isSigned ? abs(2.0 * value - 1.0) : value; }

bool isCut(vec3 p) {
  vec3 side = (p - crossHair) * (eye - crossHair);
  return cut && side.x > 0.0 && side.y > 0.0 && side.z > 0.0;
}

vec3 gradient(vec3 p) {
  vec3 d = 1.0 / voxels;
  vec3 g;
  for (int axis = 0; axis < 3; axis++) {
    vec3 shift = vec3(0.0);
    shift[axis] = d[axis];
    float low, high, here;
    valueAt(p, here);
    bool hasLow = valueAt(p - shift, low), hasHigh = valueAt(p + shift, high);
    g[axis] = ((hasHigh ? height(high) : height(here)) - (hasLow ? height(low) : height(here))) / d[axis];
  }
  return g;
}

vec3 lit(vec3 base, vec3 p, vec3 direction) {
  vec3 normal = normalize(toWorldNormal * gradient(p) + 1e-20);
  vec3 towards = normalize(toWorld * -direction);
  float facing = abs(dot(normal, towards));
  vec3 light = normalize(towards + 0.45 * normalize(vec3(towards.y, -towards.x, 0.7)));
  float diffuse = abs(dot(normal, light));
  return base * (0.28 + 0.22 * facing + 0.55 * diffuse) + 0.22 * pow(facing, 24.0);
}

// Premultiplied colour of a slice at its intersection with the ray.
vec4 planeAt(vec3 p) {
  if (!isAsked(p)) return vec4(0.0);
  float value;
  if (valueAt(p, value)) return vec4(ink(value), 1.0);
  float stripe = step(0.72, fract(dot(p - crossHair, vec3(1.0, 1.31, 0.77)) * 22.0));
  return vec4(missing, 1.0) * mix(0.16, 0.75, stripe);
}

void over(vec4 back) { colour += (1.0 - colour.a) * back; }

float random() { return fract(52.9829189 * fract(dot(gl_FragCoord.xy, vec2(0.06711056, 0.00583715)))); }

void main() {
  colour = vec4(0.0);
  vec3 direction = at - eye;
  vec3 toLow = -eye / direction, toHigh = (1.0 - eye) / direction;
  vec3 first = min(toLow, toHigh), last = max(toLow, toHigh);
  float from = max(max(max(first.x, first.y), first.z), 0.0);
  float to = min(min(last.x, last.y), last.z);
  // There are no data outside the sphere of the smallest d.
  vec3 sEye = toS * eye + s0, sWay = toS * direction;
  float a = dot(sWay, sWay), b = dot(sEye, sWay), c = dot(sEye, sEye) - range2.y;
  float root = b * b - a * c;
  if (root < 0.0) { if (picture == 2) discard; root = 0.0; to = from; }
  else { from = max(from, (-b - sqrt(root)) / a); to = min(to, (-b + sqrt(root)) / a); }
  if (to <= from) discard;

  // Intersections of the ray with the three slices, the nearest first.
  vec3 meets = (crossHair - eye) / direction;
  float nearest = min(min(meets.x, meets.y), meets.z), farthest = max(max(meets.x, meets.y), meets.z);
  vec3 ordered = vec3(nearest, meets.x + meets.y + meets.z - nearest - farthest, farthest);
  int passed = planes && picture != 2 ? 0 : 3;
  float span = length(direction * voxels) * (to - from);
  int steps = picture == 3 ? 1 : clamp(int(span * stepsPerVoxel) + 2, 8, MAX_STEPS);
  float dt = (to - from) / float(steps);
  float thickness = length(toWorld * direction) * dt;
  float t = from - (picture == 3 ? 0.0 : dt * random());
  float highest = -1.0, highestValue = 0.0;
  bool wasInside = false, wasThere = false;

  for (int n = 0; n <= steps; n++) {
    float before = n == 0 ? from - 1e-6 : t;
    t = n == steps ? to : t + dt;
    while (passed < 3 && ordered[passed] <= t) {
      if (ordered[passed] >= from) over(planeAt(eye + ordered[passed] * direction));
      passed++;
    }
    if (colour.a > 0.985) break;
    if (picture == 3) continue;
    vec3 p = eye + t * direction;
    float value;
    bool there = !isCut(p) && valueAt(p, value) && isAsked(p);
    if (picture == 0) {
      if (there) {
        float w = weight(value);
        float alpha = 1.0 - exp(-density * w * w * thickness);
        over(vec4(ink(value) * alpha, alpha));
        if (colour.a > 0.985) break;
      }
    } else if (picture == 2) {
      if (there && weight(value) > highest) { highest = weight(value); highestValue = value; }
    } else {
      bool inside = there && height(value) >= level;
      if (inside && !wasInside) {
        if (wasThere) {
          float low = before, high = t;
          for (int halving = 0; halving < 6; halving++) {
            float middle = 0.5 * (low + high), v;
            valueAt(eye + middle * direction, v);
            if (height(v) >= level) high = middle; else low = middle;
          }
          vec3 hit = eye + high * direction;
          over(vec4(lit(value < 0.5 && isSigned ? below : above, hit, direction), 1.0));
        } else {
          over(vec4(ink(value), 1.0));  // a cut face, in the colours of the values
        }
        break;
      }
      wasInside = inside;
      wasThere = there;
    }
  }
  if (picture == 2 && highest >= 0.0) {
    float alpha = smoothstep(0.0, 0.25, highest);
    colour = vec4(ink(highestValue) * alpha, alpha);
  }
  if (colour.a < 0.004) discard;
}`;
