(* Threads, closures, garbage and marshalling through a forked child's pipes.
   SPDX-License-Identifier: Apache-2.0 *)
let gate = Sys.getenv "GATE"
let touch what = close_out (open_out (gate ^ "." ^ what))
let is_open () = Sys.file_exists (gate ^ ".go")

module M = Map.Make (Int)

let work seed =
  let map = ref M.empty in
  for i = 1 to 2000 do
    map := M.add ((seed * 7919 + i * 31) mod 5003) (string_of_int (i * seed)) !map
  done;
  M.fold (fun k v sum -> (sum + k * String.length v) land 0xffffff) !map 0

let child questions answers =
  let i = Unix.in_channel_of_descr questions and o = Unix.out_channel_of_descr answers in
  try
    while true do
      let (n, f : int * (int -> int)) = Marshal.from_channel i in
      Marshal.to_channel o (n, f n) [];
      flush o
    done
  with End_of_file -> exit 0

let () =
  let qr, qw = Unix.pipe () and ar, aw = Unix.pipe () in
  (match Unix.fork () with
   | 0 -> Unix.close qw; Unix.close ar; child qr aw
   | _ -> Unix.close qr; Unix.close aw);
  let o = Unix.out_channel_of_descr qw and i = Unix.in_channel_of_descr ar in
  let wants = Array.init 10 work in
  touch "ready";
  let round = ref 0 and bad = ref 0 in
  while !round < 50 || not (is_open ()) do
    let n = !round mod 10 in
    let threads = List.init 3 (fun _ ->
      Thread.create (fun () -> if work n <> wants.(n) then incr bad) ()) in
    Marshal.to_channel o (n, (fun x -> x * x + n)) [Marshal.Closures];
    flush o;
    let (m, square : int * int) = Marshal.from_channel i in
    if m <> n || square <> n * n + n then incr bad;
    List.iter Thread.join threads;
    incr round;
    touch "alive"
  done;
  close_out o;
  let _, status = Unix.wait () in
  Printf.printf "ok %d %d %b\n" !bad wants.(9) (status = Unix.WEXITED 0)
