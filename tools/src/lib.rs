//! Tools around MyTSDB: seeding, load and replay.
