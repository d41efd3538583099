"""The studio: a web page on which people edit the face of a photograph.

Toolkit: no build step, no framework, no third-party script. The page is one HTML file, one style sheet and
plain ES modules; the turning head is one mesh in one WebGL2 program of our own (`static/viewer.js`). What was
weighed against it:

* NiceGUI and Gradio bring a page in minutes, but each slider step passes through their own server round trip
  and component tree, they fetch fonts and scripts from outside unless patched, and neither can draw a mesh
  whose light, colours and shape change with every slider step.
* three.js draws far more than one mesh and would be the largest file of the project, vendored, for what takes
  three hundred lines.

Pictures come from the server, because it is the library that edits photographs; light on the turning head
is shaded in the browser from the same nine coefficients.
"""
