//! The store on real files: steps, damage, crashes and full disks.

mod chain;
mod crash;
mod damage;
mod faults;
mod measure;
mod steps;
mod support;
