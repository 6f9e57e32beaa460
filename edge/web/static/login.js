// A link with the token behind #, as `edge serve --lan` prints it, fills the form in. What is behind # is sent to no server.

const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname); // not into bookmarks or a screenshot
  const input = document.getElementById("token");
  input.value = token;
  input.form.submit();
}
