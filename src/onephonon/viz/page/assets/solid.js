// The map in three dimensions: three.js draws the box of voxels, its edges and the reciprocal axes.
import * as THREE from "three";
import { cross, dot, norm, plus, squares, unit } from "onephonon/geometry";
import { fragmentShader, vertexShader } from "onephonon/shaders";

const PICTURES = { volume: 0, surface: 1, maximum: 2, slices: 3 };
const NAMES = ["h", "k", "l"];

/** Maximum time of a picture, milliseconds, while it moves and at rest. */
const PATIENCE = { moving: 60, still: 2500 };

/** A camera that several panes share, so that views side by side rotate together. */
export function makeCamera() {
  const camera = new THREE.PerspectiveCamera(18, 1, 0.1, 50);
  camera.userData.target = new THREE.Vector3();
  return camera;
}

export class SolidPane {
  /**
   * @param {HTMLElement} host
   * @param {Geometry} geometry
   * @param {THREE.Camera} camera
   * @param {number} sMax  the largest 1/d of a voxel with data
   * @param {object} on  moved(), point(index), drawn()
   * @throws if the browser has no WebGL 2
   */
  constructor(host, geometry, camera, sMax, on) {
    Object.assign(this, { host, geometry, camera, sMax, on, speed: 0.1, frames: 0, loaded: null });
    /** Request made while a picture is being drawn: [look, moving]. */
    this.next = null;
    this.busy = false;
    this.renderer = new THREE.WebGLRenderer({ alpha: true, antialias: true, preserveDrawingBuffer: true });
    this.renderer.outputColorSpace = THREE.LinearSRGBColorSpace; // palettes are already in screen colours
    this.renderer.autoClear = false;
    this.canvas = host.appendChild(this.renderer.domElement);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "3-D view of the map; arrow keys rotate it");
    this.labels = host.appendChild(document.createElement("div"));
    this.labels.className = "labels";
    this.scene = new THREE.Scene();
    this.setBox();
    this.setLines();
    this.setControls();
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** The box of voxels: s = middle + radius · world, so that the whole has radius one. */
  setBox() {
    const { geometry } = this;
    const { shape } = geometry;
    this.middle = geometry.toS(shape.map((n) => (n - 1) / 2));
    const spans = geometry.edges.map((edge, axis) => edge.map((x) => x * shape[axis]));
    const halves = [[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]].map((signs) =>
      norm(plus(plus(spans[0].map((x) => (signs[0] * x) / 2), spans[1], signs[1] / 2), spans[2], signs[2] / 2)));
    this.radius = Math.max(...halves);
    const [a, b, c] = spans.map((span) => span.map((x) => x / this.radius));
    const world = new THREE.Matrix4().set(a[0], b[0], c[0], 0, a[1], b[1], c[1], 0, a[2], b[2], c[2], 0, 0, 0, 0, 1);
    this.toWorld = new THREE.Matrix3().setFromMatrix4(world);
    const toS = this.toWorld.clone().multiplyScalar(this.radius);
    const s0 = geometry.toS([-0.5, -0.5, -0.5]);
    this.material = new THREE.ShaderMaterial({
      glslVersion: THREE.GLSL3,
      vertexShader,
      fragmentShader,
      side: THREE.BackSide,
      transparent: true,
      depthTest: false,
      blending: THREE.CustomBlending,
      blendSrc: THREE.OneFactor,
      blendDst: THREE.OneMinusSrcAlphaFactor,
      uniforms: {
        field: { value: null },
        palette: { value: null },
        eye: { value: new THREE.Vector3() },
        voxels: { value: new THREE.Vector3(...shape) },
        toS: { value: toS },
        s0: { value: new THREE.Vector3(...s0) },
        toWorld: { value: this.toWorld },
        toWorldNormal: { value: this.toWorld.clone().invert().transpose() },
        range2: { value: new THREE.Vector2() },
        colourRange: { value: new THREE.Vector2() },
        picture: { value: 0 },
        isSigned: { value: false },
        level: { value: 0.5 },
        density: { value: 1 },
        crossHair: { value: new THREE.Vector3() },
        planes: { value: true },
        cut: { value: false },
        stepsPerVoxel: { value: 1 },
        missing: { value: new THREE.Vector3() },
        above: { value: new THREE.Vector3(0.93, 0.58, 0.16) },
        below: { value: new THREE.Vector3(0.3, 0.6, 0.92) },
      },
    });
    this.box = new THREE.Mesh(new THREE.BoxGeometry(1, 1, 1), this.material);
    this.box.matrixAutoUpdate = false;
    this.box.matrix.copy(world);
    this.box.frustumCulled = false;
    this.box.renderOrder = 1;
    this.scene.add(this.box);
    const { shape: [n0, n1, n2] } = geometry;
    this.texture = new THREE.Data3DTexture(new Uint16Array(2 * n0 * n1 * n2), n2, n1, n0);
    Object.assign(this.texture, {
      format: THREE.RGFormat,
      type: THREE.HalfFloatType,
      minFilter: THREE.LinearFilter,
      magFilter: THREE.LinearFilter,
      unpackAlignment: 4,
    });
    this.palette = new THREE.DataTexture(new Uint8Array(1024), 256, 1);
    this.material.uniforms.field.value = this.texture;
    this.material.uniforms.palette.value = this.palette;
  }

  /** A point of the box (0 to 1) in the world. */
  place(p) {
    return new THREE.Vector3(...p).subScalar(0.5).applyMatrix3(this.toWorld);
  }

  /** Edges of the box (those behind the volume are drawn before it) and the axes. */
  setLines() {
    const lines = (points, order, width = 1) => {
      const geometry = new THREE.BufferGeometry();
      geometry.setAttribute("position", new THREE.Float32BufferAttribute(points.flat(), 3));
      const material = new THREE.LineBasicMaterial({ depthTest: false, transparent: true, linewidth: width });
      const object = new THREE.LineSegments(geometry, material);
      object.renderOrder = order;
      object.frustumCulled = false;
      this.scene.add(object);
      return object;
    };
    this.edges = [];
    for (let axis = 0; axis < 3; axis++) {
      for (const [i, j] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
        const [from, to] = [0, 1].map((end) => [0, 1, 2].map((n) => (n === axis ? end : n === (axis + 1) % 3 ? i : j)));
        const object = lines([this.place(from).toArray(), this.place(to).toArray()], 0);
        this.edges.push({ object, faces: [[(axis + 1) % 3, i], [(axis + 2) % 3, j]] });
      }
    }
    // Through the origin if it is in the box, else along the edges that meet at the nearest corner.
    const { shape } = this.geometry;
    const origin = this.geometry.toIndex([0, 0, 0]).map((i, n) => Math.min(Math.max((i + 0.5) / shape[n], 0), 1));
    this.axes = [0, 1, 2].map((axis) => {
      const [from, to] = [-0.04, 1.04].map((end) => origin.map((x, n) => (n === axis ? end : x)));
      const object = lines([this.place(from).toArray(), this.place(to).toArray()], 2);
      const label = this.labels.appendChild(document.createElement("span"));
      label.textContent = NAMES[axis];
      label.dataset.axis = axis;
      return { object, label, end: this.place(origin.map((x, n) => (n === axis ? 1.09 : x))) };
    });
  }

  setControls() {
    this.controls = new THREE.TrackballControls(this.camera, this.canvas);
    Object.assign(this.controls, {
      staticMoving: true, rotateSpeed: 2.4, zoomSpeed: 1.1, panSpeed: 0.35, minDistance: 1.2, maxDistance: 20,
      keys: ["", "", ""], target: this.camera.userData.target,
    });
    let pressed = null;
    const follow = () => requestAnimationFrame(() => this.controls.update());
    for (const name of ["pointermove", "pointerup", "wheel"]) this.canvas.addEventListener(name, follow);
    this.controls.addEventListener("change", () => this.on.moved());
    this.canvas.addEventListener("pointerdown", (event) => { pressed = [event.clientX, event.clientY]; });
    this.canvas.addEventListener("click", (event) => {
      const moved = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]);
      if (moved > 3) return;
      const index = this.pick(event);
      if (index) this.on.point(index);
    });
  }

  /** The voxel of the slice under the pointer that is closest to the eye. */
  pick(event) {
    if (!this.look?.planes || this.look.picture === "maximum") return null;
    const box = this.canvas.getBoundingClientRect();
    const x = (2 * (event.clientX - box.left)) / box.width - 1;
    const y = 1 - (2 * (event.clientY - box.top)) / box.height;
    const back = this.box.matrixWorld.clone().invert();
    const eye = this.camera.position.clone().applyMatrix4(back).addScalar(0.5).toArray();
    const far = new THREE.Vector3(x, y, 0.5).unproject(this.camera).applyMatrix4(back).addScalar(0.5).toArray();
    const way = plus(far, eye, -1);
    const { shape } = this.geometry;
    const cross = this.crossHair();
    const [low, high] = this.look.range;
    const hits = [0, 1, 2]
      .map((axis) => (cross[axis] - eye[axis]) / way[axis])
      .filter((t) => t > 0)
      .sort((a, b) => a - b)
      .map((t) => plus(eye, way, t).map((p, n) => p * shape[n] - 0.5))
      .filter((index) => {
        const s = norm(this.geometry.toS(index));
        return s >= low && s <= high && index.every((i, n) => i >= -0.5 && i <= shape[n] - 0.5);
      });
    return hits.length ? this.geometry.nearest(hits[0]) : null;
  }

  crossHair() {
    return this.look.cross.map((i, n) => (i + 0.5) / this.geometry.shape[n]);
  }

  /** Look along a cell axis, with the slice oriented as in its panel, or from a corner. */
  lookFrom(which) {
    const [a, b, c] = this.geometry.axes;
    const corner = plus(plus(unit(a).map((x) => 0.62 * x), unit(b), -1.1), unit(c), 0.62);
    const [from, right] = {
      0: [cross(b, c), b],
      1: [cross(a, c), a],
      2: [cross(a, b), a],
      corner: [corner, cross(c, corner)],
    }[which].map(unit);
    const up = cross(from, right);
    const target = this.camera.userData.target.set(0, 0, 0);
    const away = this.distance(from, up, right);
    this.camera.position.copy(target).addScaledVector(new THREE.Vector3(...from), away);
    this.camera.up.set(...up);
    this.camera.lookAt(target);
    this.on.moved();
  }

  /** Smallest distance at which all data are visible: the box, or the sphere of the smallest d. */
  distance(from, up, right) {
    const { clientWidth: width, clientHeight: height } = this.host;
    const tall = 0.84 * Math.tan(((this.camera.fov / 2) * Math.PI) / 180);
    const wide = (tall * width) / Math.max(height, 1);
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => this.place([bits & 1, (bits >> 1) & 1, bits >> 2]).toArray());
    const origin = this.middle.map((x) => -x / this.radius);
    const reach = (way) => Math.min(
      Math.max(...corners.map((p) => Math.abs(dot(p, way)))),
      Math.abs(dot(origin, way)) + this.sMax / this.radius,
    );
    return reach(from) + Math.max(reach(right) / wide, reach(up) / tall);
  }

  key(event) {
    const turns = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] };
    const nearer = { "+": 0.85, "=": 0.85, "-": 1 / 0.85 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = this.camera.userData.target;
    const away = this.camera.position.clone().sub(target);
    if (event.key in turns) {
      const [vertical, sign] = turns[event.key];
      const up = this.camera.up.clone().normalize();
      const axis = vertical ? away.clone().cross(up).normalize() : up;
      const angle = (sign * (event.shiftKey ? 30 : 6) * Math.PI) / 180;
      away.applyAxisAngle(axis, angle);
      if (vertical) this.camera.up.applyAxisAngle(axis, angle);
    } else if (event.key in nearer) {
      away.multiplyScalar(nearer[event.key]);
    } else if (event.key === "0") {
      this.lookFrom("corner");
    } else return;
    event.preventDefault();
    if (event.key !== "0") this.camera.position.copy(target).add(away);
    this.camera.lookAt(target);
    this.on.moved();
  }

  /** Load values into the texture as half floats: (value, 1), or (0, 0) where data are missing. */
  load(t) {
    if (t === this.loaded) return;
    this.loaded = t;
    const half = THREE.DataUtils.toHalfFloat;
    const one = half(1);
    const data = this.texture.image.data;
    for (let n = 0; n < t.length; n++) {
      const there = t[n] === t[n];
      data[2 * n] = there ? half(Math.min(Math.max(t[n], -4), 4)) : 0;
      data[2 * n + 1] = there ? one : 0;
    }
    this.texture.needsUpdate = true;
  }

  /**
   * @param {object} look  t, table, window, range, cross, planes, cut, picture, level, density,
   *   signed, colours
   * @param {boolean} moving  whether to draw coarsely
   */
  draw(look, moving) {
    this.look = look;
    this.next = [look, moving];
    if (!this.busy) this.render();
  }

  /** Draw the latest request; asynchronous, since it takes long without a graphics card. */
  render() {
    const [look, moving] = this.next;
    this.next = null;
    this.busy = true;
    this.load(look.t);
    this.palette.image.data.set(look.table);
    this.palette.needsUpdate = true;
    const { clientWidth: width, clientHeight: height } = this.host;
    this.camera.aspect = width / Math.max(height, 1);
    this.camera.updateProjectionMatrix();
    this.camera.updateMatrixWorld();
    this.box.updateMatrixWorld(true);
    this.setUniforms(look, moving);
    this.setEdges(look.colours);
    const full = Math.min(window.devicePixelRatio || 1, 2);
    const patience = moving ? PATIENCE.moving : PATIENCE.still / 3; // a fine picture has three times the steps
    // `speed`: pixels per microsecond, measured on the previous coarse picture.
    const afford = Math.sqrt((this.speed * 1000 * patience) / (width * height));
    this.renderer.setPixelRatio(Math.min(full, Math.max(afford, moving ? 0.2 : 0.7)));
    this.renderer.setSize(width, height, false);
    this.renderer.clear();
    this.renderer.render(this.scene, this.camera);
    this.setLabels(width, height);
    this.controls.handleResize();
    this.await(moving, performance.now());
  }

  /** When the picture is finished, measure the speed, and draw the next request if there is one. */
  await(moving, start) {
    const gl = this.renderer.getContext();
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    const look = () => {
      if (fence && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) {
        setTimeout(look, 3);
        return;
      }
      gl.deleteSync(fence);
      const pixels = gl.drawingBufferWidth * gl.drawingBufferHeight;
      this.busy = false;
      this.frames += 1;
      // The time of the first picture is that of compiling the shader.
      if (this.frames === 1) this.next ??= [this.look, moving];
      else if (moving) this.speed = pixels / Math.max(performance.now() - start, 1) / 1000;
      if (this.next) this.render();
      else this.on.drawn();
    };
    setTimeout(look, 0);
  }

  setUniforms(look, moving) {
    const u = this.material.uniforms;
    u.eye.value.copy(this.camera.position).applyMatrix4(this.box.matrixWorld.clone().invert()).addScalar(0.5);
    u.range2.value.set(...squares(look.range));
    u.colourRange.value.set(...look.window);
    u.picture.value = PICTURES[look.picture];
    u.isSigned.value = look.signed;
    u.level.value = look.level;
    u.density.value = 3 * 150 ** look.density;
    u.crossHair.value.set(...this.crossHair());
    u.planes.value = look.planes;
    u.cut.value = look.cut;
    u.stepsPerVoxel.value = moving ? 0.5 : 1.5;
    u.missing.value.set(...look.colours.hatchRgb.map((x) => x / 255));
  }

  setEdges(colours) {
    const eye = this.material.uniforms.eye.value.toArray();
    for (const { object, faces } of this.edges) {
      const front = faces.some(([axis, end]) => (end ? eye[axis] > 1 : eye[axis] < 0));
      object.renderOrder = front ? 2 : 0;
      object.material.color.set(colours.edge);
      object.material.opacity = front ? 0.8 : 0.45;
    }
    this.axes.forEach(({ object }, axis) => object.material.color.set(colours.axes[axis]));
    this.axes.forEach(({ object }) => { object.renderOrder = 0; });
  }

  setLabels(width, height) {
    for (const { label, end } of this.axes) {
      const at = end.clone().project(this.camera);
      label.style.transform = `translate(-50%, -50%) translate(${((at.x + 1) / 2) * width}px, ${((1 - at.y) / 2) * height}px)`;
    }
  }
}
