//! The store on real files: steps, damage, crashes and full disks.

mod chain;
mod crash;
mod damage;
mod disk;
mod faults;
mod kth;
mod measure;
mod power;
mod steps;
mod support;
