// A photo from the camera: the browser's own view of it, or the phone's camera app where that isn't allowed.

const element = (id) => document.getElementById(id);

/**
 * Prepare the camera dialog.
 * @param {(blob: Blob) => void} onPhoto
 */
export function cameraDialog(onPhoto) {
  const dialog = element("camera");
  const video = element("video");
  const shoot = element("shoot");
  const fallback = element("camera-file-button");
  let stream = null;

  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
    shoot.disabled = true;
  };

  const refuse = (text) => {
    element("camera-note").textContent = text;
    fallback.hidden = false;
    shoot.hidden = true;
  };

  const open = async () => {
    element("camera-note").textContent = "Waiting for the camera\u2026";
    fallback.hidden = true;
    shoot.hidden = false;
    dialog.showModal();
    if (!navigator.mediaDevices?.getUserMedia) {
      refuse("This page may not open the camera here: browsers allow it over https or on this computer alone.");
      return;
    }
    try {
      const wanted = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } };
      const opened = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      if (!dialog.open) {
        opened.getTracks().forEach((track) => track.stop());
        return;
      }
      stream = opened;
      video.srcObject = stream;
      await video.play();
      element("camera-note").textContent = "";
      shoot.disabled = false;
      shoot.focus();
    } catch (error) {
      const denied = error.name === "NotAllowedError";
      refuse(denied ? "The camera was not allowed. Allow it in the browser's address bar, or use the camera app." : "No camera was found. You can still choose a photo.");
    }
  };

  shoot.addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      onPhoto(new File([blob], "camera.jpg", { type: "image/jpeg" }));
    }, "image/jpeg", 0.93);
  });
  fallback.addEventListener("click", () => element("camera-file").click());
  element("camera-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    dialog.close();
    onPhoto(file);
  });
  element("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
  return { open };
}
