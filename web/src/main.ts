import "./page.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { startTheme } from "./theme.svelte";

startTheme();
mount(App, { target: document.getElementById("page")! });
