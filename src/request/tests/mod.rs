mod origin;
mod peer;
