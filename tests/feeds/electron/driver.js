// Checks for an update and downloads it as a shipped application does, with the real electron-updater and without
// Electron. Reads what it should be from standard input, and prints what came of it; both are JSON.
"use strict";

const { createHash } = require("node:crypto");
const { EventEmitter } = require("node:events");
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const Module = require("node:module");
const os = require("node:os");
const path = require("node:path");

const asked = JSON.parse(fs.readFileSync(0, "utf8"));
for (const [name, value] of Object.entries({ platform: asked.platform, arch: asked.arch })) {
  Object.defineProperty(process, name, { value });
}
os.release = () => asked.release || "6.1.0";

// What electron-updater takes from Electron: its HTTP client, and on macOS the updater that installs.
const electron = {
  autoUpdater: Object.assign(new EventEmitter(), { setFeedURL() {}, checkForUpdates() {} }),
  session: { fromPartition: () => ({}) },
  net: {
    request({ session, redirect, ...options }) {
      return (options.protocol === "https:" ? https : http).request(options);
    },
  },
};
const load = Module._load;
Module._load = (name, ...rest) => (name === "electron" ? electron : load(name, ...rest));

const updaters = require("electron-updater");
const { ElectronHttpExecutor } = require("electron-updater/out/electronHttpExecutor");

const quiet = { info() {}, warn() {}, error() {}, debug() {} };
const folder = asked.folder;
fs.mkdirSync(folder, { recursive: true });
const configuration = path.join(folder, "app-update.yml");
fs.writeFileSync(configuration, JSON.stringify({ provider: "generic", url: asked.url, updaterCacheDirName: "cache" }));
if (asked.staging_id) fs.writeFileSync(path.join(folder, ".updaterId"), asked.staging_id);

const app = {
  version: asked.version,
  name: "launcher",
  isPackaged: true,
  appUpdateConfigPath: configuration,
  userDataPath: folder,
  baseCachePath: folder,
  whenReady: () => Promise.resolve(),
  relaunch() {},
  quit() {},
  onQuit() {},
};

async function main() {
  process.env.APPIMAGE = path.join(folder, "installed.AppImage");
  fs.writeFileSync(process.env.APPIMAGE, "an old version");
  const updater = new updaters[asked.updater](null, app);
  updater.httpExecutor = new ElectronHttpExecutor(null);
  updater.logger = quiet;
  updater.autoDownload = false;
  updater.autoInstallOnAppQuit = false;
  updater.allowDowngrade = Boolean(asked.allow_downgrade);
  updater.requestHeaders = asked.headers || null;
  updater.on("error", () => {});
  const events = [];
  for (const name of ["update-available", "update-not-available", "update-downloaded"]) {
    updater.on(name, () => events.push(name));
  }
  const result = { events };
  try {
    const found = await updater.checkForUpdates();
    Object.assign(result, { available: found.isUpdateAvailable, info: found.updateInfo });
    if (found.isUpdateAvailable) {
      await updater.downloadUpdate();
      const file = updater.downloadedUpdateHelper.file;
      const digest = createHash("sha256").update(fs.readFileSync(file)).digest("hex");
      Object.assign(result, { file: path.basename(file), sha256: digest });
    }
  } catch (error) {
    Object.assign(result, { error: error.code || error.name, message: String(error.message) });
  }
  fs.writeSync(1, JSON.stringify(result));
  process.exit(0);
}

main();
