"""What widgets are made of: JavaScript and CSS, a chooser of clips, uploads, static figures."""
