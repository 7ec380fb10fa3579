"""Speed and quality of fedjax_rec beside other ways to do the same work.

python -m benchmarks --list
python -m benchmarks --workload W1 --clients 64 --peers ours,torch-lean --json out.json
"""
